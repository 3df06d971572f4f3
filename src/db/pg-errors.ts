import { AppError, type ErrorCode } from '../errors.ts';
import type { Role } from './router.ts';

/**
 * What PostgreSQL and its driver say, translated once. Details of the server (constraint names, values, SQL) stay in
 * `cause`, for the log; an AppError's own words are safe to show.
 */

/** Constraint name → what it means to a client. Declared by each repository beside its SQL. */
export type ConstraintTable = Readonly<
  Record<string, { code: ErrorCode; detail: string; pointer?: string } | undefined>
>;

/** What to do about a failure, apart from telling the client. */
export type Remedy =
  /** the connection or the server is gone */
  | 'node-lost'
  /** the standby cancelled the read because replay needed the rows, or has not seen the newest schema yet; or is busy */
  | 'elsewhere'
  /** the transaction was rolled back and may simply be run again */
  | 'rerun'
  /** the server has refused because it is a standby: another one is the primary by now */
  | 'not-primary'
  | 'none';

interface Meaning {
  code: ErrorCode;
  detail: string;
  remedy: Remedy;
}

const lost: Meaning = { code: 'unavailable', detail: 'The database cannot be reached.', remedy: 'node-lost' };
const notPrimaryMeaning: Meaning = {
  code: 'unavailable',
  detail: 'The database takes no writes at the moment.',
  remedy: 'not-primary',
};
/** All connections of ours are in use. The server is well, and the next unit of work may be luckier. */
const busy: Meaning = { code: 'unavailable', detail: 'The database is busy.', remedy: 'elsewhere' };
const full: Meaning = { code: 'unavailable', detail: 'The database is out of resources.', remedy: 'none' };
/**
 * A schema, table, column or type is missing or another one: on a replica, one that has not been replayed yet; on the
 * primary, one that has been migrated further than this build knows, or not as far as it needs; or a fault of ours.
 */
const outOfStep: Meaning = {
  code: 'internal',
  detail: 'The tables are not what this build expects.',
  remedy: 'elsewhere',
};
const badValue: Meaning = { code: 'invalid_input', detail: 'A value cannot be stored.', remedy: 'none' };

/** https://www.postgresql.org/docs/current/errcodes-appendix.html; two characters stand for a whole class. */
const bySqlState: Readonly<Record<string, Meaning>> = {
  '08': lost,
  '22': badValue,
  '23502': { code: 'unprocessable', detail: 'A value is missing.', remedy: 'none' },
  '23503': {
    code: 'unprocessable',
    detail: 'A resource that is referred to does not exist.',
    remedy: 'none',
  },
  '23505': { code: 'conflict', detail: 'Such a resource exists already.', remedy: 'none' },
  '23514': { code: 'unprocessable', detail: 'A value is outside what is allowed.', remedy: 'none' },
  '25006': notPrimaryMeaning,
  '25P03': lost, // idle_in_transaction_session_timeout
  '40001': { code: 'unavailable', detail: 'The change met another one.', remedy: 'rerun' },
  '40P01': { code: 'unavailable', detail: 'The change met another one.', remedy: 'rerun' },
  '3F000': outOfStep,
  '42P01': outOfStep,
  '42703': outOfStep,
  '42704': outOfStep,
  '42804': outOfStep,
  '42846': outOfStep,
  '42883': outOfStep,
  '42501': { code: 'forbidden', detail: 'The database refuses this.', remedy: 'none' },
  '53': full,
  '55P03': { code: 'unavailable', detail: 'The rows are locked by another change.', remedy: 'none' },
  '57014': { code: 'timeout', detail: 'The statement was cancelled after its time limit.', remedy: 'none' },
  // Raised by control.guard_move(), for the last moment of a move.
  TM001: {
    code: 'tenant_moving',
    detail: 'The tenant is being moved, and cannot be written for a moment.',
    remedy: 'none',
  },
  '57P': lost, // 57P01 admin shutdown, 57P02 crash shutdown, 57P03 cannot connect now
};

/** node-postgres and knex raise these without a code. */
const driverMessages =
  /^(Connection terminated|Query read timeout|timeout expired|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end|Connection ended unexpectedly)/;
/** Ours, and what the pools of node-postgres and knex raise when the wait was too long. */
const busyMessages =
  /^(Too many wait for a connection|timeout exceeded when trying to connect|Knex: Timeout acquiring a connection)/;
const socketCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ETIMEDOUT',
  'EPIPE',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

/** Codes of what is over soon. */
const comesBack: ReadonlySet<ErrorCode> = new Set(['unavailable', 'tenant_moving']);

interface PgError {
  code?: string;
  message?: string;
  constraint?: string;
  routine?: string;
  /** Added by batch.ts: the statement had been prepared for tables of other types. */
  outgrown?: boolean;
}

/** On the primary nothing conflicts with recovery and nothing is still to be replayed. */
export function remedyFor(error: unknown, role: 'primary' | 'replica'): Remedy {
  if (error instanceof AppError && error.cause === undefined) return 'none';
  const source = error instanceof AppError ? error.cause : error;
  if ((source as PgError | null)?.outgrown === true) return 'rerun';
  const remedy = meaningOf(source)?.remedy ?? 'none';
  if (role === 'replica') return remedy === 'rerun' ? 'elsewhere' : remedy;
  return remedy === 'elsewhere' ? 'none' : remedy;
}

/** An AppError for anything PostgreSQL or the driver raises; everything else is returned as it is. */
export function translateError(error: unknown, constraints: ConstraintTable = {}): unknown {
  if (error instanceof AppError) return error;
  const { constraint } = error as PgError;
  const known = constraint === undefined ? undefined : constraints[constraint];
  if (known !== undefined) {
    const { code, detail, pointer } = known;
    return new AppError(code, detail, {
      cause: error,
      ...(pointer === undefined ? {} : { errors: [{ pointer, code, message: detail }] }),
    });
  }
  const meaning = meaningOf(error);
  if (meaning === undefined) return error;
  const retryAfterS = comesBack.has(meaning.code) ? 1 : undefined;
  return new AppError(meaning.code, meaning.detail, {
    cause: error,
    ...(retryAfterS === undefined ? {} : { retryAfterS }),
  });
}

/** Judged by its shape: an error of another realm, such as a socket's under a test runner, is no instance of ours. */
function meaningOf(error: unknown): Meaning | undefined {
  const { code, message } = (error ?? {}) as PgError;
  if (typeof code !== 'string') return meaningOfWords(message ?? '');
  if (socketCodes.has(code)) return lost;
  return bySqlState[code] ?? bySqlState[code.slice(0, 3)] ?? bySqlState[code.slice(0, 2)];
}

function meaningOfWords(message: string): Meaning | undefined {
  if (busyMessages.test(message)) return busy;
  return driverMessages.test(message) ? lost : undefined;
}

/** A server that was taken for the primary says that it is a standby: nothing it has shown is to be relied on. */
export class NotPrimary extends Error {
  readonly code = '25006';
  readonly severity = 'ERROR';
}

/** A read has been stopped for a reason that is not its own: nothing speaks against running it again. */
export class Displaced extends Error {
  readonly code = '40001';
  readonly severity = 'ERROR';
}

/** A value cannot be sent. Nothing has been. */
export class Unsendable extends Error {}

/** PostgreSQL itself has refused; anything else leaves the state of the connection unknown. */
export function isServerError(error: unknown): boolean {
  return error instanceof Error && 'severity' in error;
}

/** A value or a constraint of one row among those that a statement was to write: the others could be written. */
export function isOfRow(error: unknown): boolean {
  const { code } = ((error instanceof AppError ? error.cause : error) ?? {}) as PgError;
  return typeof code === 'string' && /^2[23]/.test(code);
}

/** A row met another one. */
export function isTaken(error: unknown): boolean {
  return (((error instanceof AppError ? error.cause : error) ?? {}) as PgError).code === '23505';
}

/** The statement does not fit the tables. Who knows which versions the tables may be of tells whether that is over soon. */
export function isOutOfStep(error: unknown): boolean {
  return meaningOf(error instanceof AppError ? error.cause : error) === outOfStep;
}

/** By us, by its time limit or by an administrator. */
export function isCancelled(error: unknown): boolean {
  return (error as PgError | null)?.code === '57014';
}

/**
 * What a statement that was prepared earlier fails with when the types of columns have changed since: those of its result
 * and of its parameters stay as they were. A new one would not fail.
 */
export function isOutgrown(error: unknown): boolean {
  const { code = '', routine } = (error ?? {}) as PgError;
  return code === '0A000' ? routine === 'RevalidateCachedQuery' : ofTypes.has(code);
}

/** datatype_mismatch, cannot_coerce, undefined_function: an operator for these types, too. */
const ofTypes = new Set(['42804', '42846', '42883']);

/** A replica has not replayed what it must have. Its answer has been thrown away. */
export class ReplicaBehind extends Error {}

/** A unit that reads and is refused with 25006 has tried to write: no other server will let it. */
export function readRemedy(error: unknown, role: Role): Remedy | 'behind' {
  if (error instanceof ReplicaBehind) return 'behind';
  const remedy = remedyFor(error, role);
  return remedy === 'not-primary' && !((error as Error).cause instanceof NotPrimary) ? 'none' : remedy;
}
