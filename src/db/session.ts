import type { ClientBase } from 'pg';
import { AppError } from '../errors.ts';
import { runBatch, type Step } from './batch.ts';
import { type ConstraintTable, translateError } from './pg-errors.ts';
import { type Author, systemAuthor, type Tenant } from './scope.ts';
import { statementName } from './statement-name.ts';

declare const mayRead: unique symbol;
declare const mayWrite: unique symbol;

/** What a unit of work that only reads receives. Ends with the unit: a statement after it is refused. */
export interface ReadSession {
  readonly [mayRead]: true;
  /** Whose rows the session sees; undefined in the control plane. */
  readonly tenant: Tenant | undefined;
  /** Who works here: whoever changes a row is named in the audit. */
  readonly author: Author;
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

/** What both kinds of session are. */
export abstract class Session {
  readonly tenant: Tenant | undefined;
  readonly author: Author;
  #open = true;

  constructor(tenant: Tenant | undefined, author: Author = systemAuthor) {
    this.tenant = tenant;
    this.author = author;
  }

  async query<Row extends object>(
    text: string,
    values: readonly unknown[] = [],
    constraints: ConstraintTable = {},
    name: string = statementName(text),
  ): Promise<Row[]> {
    if (!this.#open) throw new Error('A session was used after its unit of work had ended');
    try {
      return (await this.run({ text, values, name })) as Row[];
    } catch (error) {
      throw translateError(error, constraints);
    }
  }

  close(): void {
    this.#open = false;
  }

  /** As the caller of a unit of work sees it. */
  get own(): WriteSession {
    return this as unknown as WriteSession; // the brands exist at compile time only
  }

  /** Runs one statement where the unit of work takes place. */
  protected abstract run(step: Step): Promise<object[]>;
}

/**
 * A session on a connection whose transaction somebody else opened and will end: the migrator, whose transactions are
 * knex's. The context must have been set.
 */
export function sessionOn(client: ClientBase, tenant: Tenant | undefined, author?: Author): WriteSession {
  return new ForeignSession(client, tenant, author).own;
}

class ForeignSession extends Session {
  readonly #client: ClientBase;

  constructor(client: ClientBase, tenant: Tenant | undefined, author: Author | undefined) {
    super(tenant, author);
    this.#client = client;
  }

  protected async run(step: Step): Promise<object[]> {
    const [result] = await runBatch(this.#client, [step], false);
    return result?.rows ?? [];
  }
}

/** @throws AppError internal for a session without a tenant, whose rows nobody's could be */
export function tenantOf(session: ReadSession): string {
  if (session.tenant === undefined) {
    throw new AppError('internal', 'A tenant table was used without a tenant.');
  }
  return session.tenant.id;
}
