import { AppError } from '../../src/errors.ts';

/** What came of a call: its value, or the code of the AppError that it failed with. */
export async function outcomeOf(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

/** The SQLSTATE that PostgreSQL refused a call with; undefined when it did not. */
export async function sqlStateOf(call: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await call();
    return undefined;
  } catch (error) {
    const source = error instanceof AppError ? error.cause : error;
    const { code } = (source ?? {}) as { code?: string };
    if (code === undefined) throw error;
    return code;
  }
}
