import type { ClientBase } from 'pg';
import { runBatch, type Step } from './batch.ts';
import { type ConstraintTable, translateError } from './pg-errors.ts';
import type { Tenant } from './scope.ts';
import { statementName } from './statement-name.ts';

declare const mayRead: unique symbol;
declare const mayWrite: unique symbol;

/** What a unit of work that only reads receives. Ends with the unit: a statement after it is refused. */
export interface ReadSession {
  readonly [mayRead]: true;
  /** Whose rows the session sees; undefined in the control plane. */
  readonly tenant: Tenant | undefined;
  /**
   * Runs one statement and returns its rows.
   *
   * @param constraints what a violated constraint means to a client
   * @param name what logs and traces call the statement; never a value. By default its verb and first table
   * @throws AppError for anything PostgreSQL refuses (see pg-errors.ts)
   */
  query<Row extends object>(
    text: string,
    values?: readonly unknown[],
    constraints?: ConstraintTable,
    name?: string,
  ): Promise<Row[]>;
}

/** A ReadSession that may also write. A function that writes asks for this type, so a read cannot call it. */
export interface WriteSession extends ReadSession {
  readonly [mayWrite]: true;
}

export interface OpenSession {
  session: WriteSession;
  close(): void;
}

/** @param send runs one statement where the unit of work takes place, and returns its rows */
export function openSession(
  tenant: Tenant | undefined,
  send: (step: Step) => Promise<object[]>,
): OpenSession {
  let open = true;

  async function query<Row extends object>(
    text: string,
    values: readonly unknown[] = [],
    constraints: ConstraintTable = {},
    name: string = statementName(text),
  ): Promise<Row[]> {
    if (!open) throw new Error('A session was used after its unit of work had ended');
    try {
      return (await send({ text, values, name })) as Row[];
    } catch (error) {
      throw translateError(error, constraints);
    }
  }

  return {
    session: { tenant, query } as WriteSession, // the brands exist at compile time only
    close: () => {
      open = false;
    },
  };
}

/**
 * A session on a connection whose transaction somebody else opened and will end: the migrator, whose transactions are
 * knex's. The context must have been set.
 */
export function sessionOn(client: ClientBase, tenant: Tenant | undefined): WriteSession {
  const send = async (step: Step) => {
    const [result] = await runBatch(client, [step], false);
    return result?.rows ?? [];
  };
  return openSession(tenant, send).session;
}
