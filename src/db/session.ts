import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import { type ConstraintTable, translateError } from './pg-errors.ts';
import type { Tenant } from './scope.ts';
import { getTypeParser } from './types.ts';

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
   * @throws AppError for anything PostgreSQL refuses (see pg-errors.ts)
   */
  query<Row extends object>(
    text: string,
    values?: readonly unknown[],
    constraints?: ConstraintTable,
  ): Promise<Row[]>;
}

/** A ReadSession that may also write. A function that writes asks for this type, so a read cannot call it. */
export interface WriteSession extends ReadSession {
  readonly [mayWrite]: true;
}

export interface SessionOptions {
  client: ClientBase;
  tenant: Tenant | undefined;
  /** Statements are prepared once per connection. */
  prepared: boolean;
  /** Runs each statement; the caller's place to measure. */
  timed: <T>(statement: () => Promise<T>) => Promise<T>;
}

const types = { getTypeParser };

export interface OpenSession {
  session: WriteSession;
  close(): void;
}

export function openSession(options: SessionOptions): OpenSession {
  const { client, tenant, prepared, timed } = options;
  let open = true;

  async function query<Row extends object>(
    text: string,
    values: readonly unknown[] = [],
    constraints: ConstraintTable = {},
  ): Promise<Row[]> {
    if (!open) throw new Error('A session was used after its unit of work had ended');
    const name = prepared ? statementName(text) : undefined;
    const config = { text, values: [...values], types, ...(name === undefined ? {} : { name }) };
    try {
      const result = await timed(() => client.query<Row>(config));
      return result.rows;
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
  return openSession({ client, tenant, prepared: false, timed: (statement) => statement() }).session;
}

/** Statements with a dynamic part (filters, many rows) must not fill each connection's memory without bound. */
const maxNames = 500;
const names = new Map<string, string>();

function statementName(text: string): string | undefined {
  const known = names.get(text);
  if (known !== undefined || names.size >= maxNames) return known;
  const name = createHash('sha256').update(text).digest('base64url').slice(0, 22);
  names.set(text, name);
  return name;
}
