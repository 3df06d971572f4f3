import createKnex, { type Knex } from 'knex';
import type { ClientBase } from 'pg';
import type { Clock } from '../../clock.ts';
import {
  type Author,
  type SchemaName,
  sessionOn,
  type Tenant,
  tenantContext,
  type WriteSession,
} from '../../db/index.ts';
import { unavailable } from '../../errors.ts';
import { build } from '../../version.ts';
import { createLadder, type LadderName } from './ladder.ts';
import { type Applied, forgetSchema, recordApplied, recordControl } from './ledger.ts';

/**
 * Applies migrations to one schema at a time, in one transaction with the ledgers, as tenantry_owner and on
 * connections of its own: what a migration does to its session never reaches the serving pool.
 */
export interface Migrator {
  /**
   * One transaction whose unqualified names mean `schema`. Rolled back as a whole when `fn` throws.
   *
   * @param options `lockTimeoutMs` instead of that of all transactions; `idleMs`: the server ends the transaction when it
   *   has not heard of us for so long, default never
   */
  inSchema<T>(
    schema: SchemaName,
    fn: (work: SchemaWork) => Promise<T>,
    options?: { lockTimeoutMs?: number; idleMs?: number },
  ): Promise<T>;
  steps(): Promise<Record<LadderName, string[]>>;
  stop(): Promise<void>;
}

export interface SchemaWork {
  /**
   * `ifMissing` leaves a schema that is there as it is; without it that is an error.
   *
   * @throws AppError unavailable while another runner is at work here
   */
  createSchema(options?: { ifMissing?: boolean }): Promise<void>;
  /** With all that is in it, and its place in the ledger. @throws AppError unavailable while a runner is at work here */
  dropSchema(): Promise<void>;
  /** Applies what is pending and returns its names. @throws AppError unavailable while another runner is at work here */
  climb(): Promise<string[]>;
  /**
   * Of the control plane, with qualified names; or, with a tenant, of that tenant in this schema.
   *
   * @param author whom the audit names; the system by default
   */
  session(tenant?: Tenant, author?: Author): Promise<WriteSession>;
}

export interface MigratorOptions {
  /** Of the role tenantry_owner. */
  adminUrl: string;
  clock: Clock;
  /** Connections at most. Default 4. */
  poolMax?: number;
  /** A statement that waits longer for a lock fails, so that it does not hold up what queues behind it. Default 2000. */
  lockTimeoutMs?: number;
  /** Where the ladders are; the project's own by default. */
  folder?: string;
}

const silent = () => undefined;

export function createMigrator(options: MigratorOptions): Migrator {
  const { adminUrl, clock, poolMax = 4, lockTimeoutMs = 2000, folder } = options;
  const ladders = { control: createLadder('control', folder), tenant: createLadder('tenant', folder) };
  const knex = createKnex({
    client: 'pg',
    connection: {
      connectionString: adminUrl,
      application_name: 'tenantry-migrate',
      connectionTimeoutMillis: 5000,
    },
    pool: { min: 0, max: poolMax },
    acquireConnectionTimeout: 30_000,
    // It writes to stdout, which is for data; what matters of it is thrown, too.
    log: { warn: silent, error: silent, debug: silent, deprecate: silent },
  });

  async function inSchema<T>(
    schema: SchemaName,
    fn: (work: SchemaWork) => Promise<T>,
    limits: { lockTimeoutMs?: number; idleMs?: number } = {},
  ): Promise<T> {
    return knex.transaction(async (trx) => {
      // A runner that is killed lets go of its locks: the server notices within half a second.
      await trx.raw(`set local client_connection_check_interval = '500ms'`);
      await trx.raw(`set local lock_timeout = ${limits.lockTimeoutMs ?? lockTimeoutMs}`);
      if (limits.idleMs !== undefined) {
        await trx.raw(`set local idle_in_transaction_session_timeout = ${limits.idleMs}`);
      }
      await trx.raw(`set local search_path = "${schema}", pg_temp`);
      return fn(workIn(trx, schema));
    });
  }

  function workIn(trx: Knex.Transaction, schema: SchemaName): SchemaWork {
    const session = async (tenant?: Tenant, author?: Author) => {
      if (tenant !== undefined) await trx.raw(tenantContext(tenant));
      return sessionOn(await connectionOf(trx), tenant, author);
    };
    return {
      async createSchema({ ifMissing = false } = {}) {
        await claim(schema, await session());
        await trx.raw(`create schema ${ifMissing ? 'if not exists ' : ''}"${schema}"`);
        if (schema !== 'control') await trx.raw(`grant usage on schema "${schema}" to tenantry_app`);
      },
      async dropSchema() {
        const control = await session();
        await claim(schema, control);
        await trx.raw(`drop schema if exists "${schema}" cascade`);
        await forgetSchema(control, schema);
      },
      climb: async () => climb(trx, schema, await session()),
      session,
    };
  }

  /** Until the transaction ends this runner is the only one at work in the schema. @throws AppError unavailable */
  async function claim(schema: SchemaName, session: WriteSession): Promise<void> {
    // The try form: a session that waits for an advisory lock holds up CREATE INDEX CONCURRENTLY elsewhere.
    const [lock] = await session.query<{ taken: boolean }>(
      `select pg_try_advisory_xact_lock(hashtextextended('tenantry migrate ' || $1, 0)) as taken`,
      [schema],
    );
    if (lock?.taken !== true) throw unavailable('Another runner is at work in this schema.');
  }

  async function climb(trx: Knex.Transaction, schema: SchemaName, session: WriteSession): Promise<string[]> {
    await claim(schema, session);
    const ladder = ladders[schema === 'control' ? 'control' : 'tenant'];
    const scripts = new Map((await ladder.scripts()).map((script) => [script.step, script]));
    const applied: Applied[] = [];
    for (;;) {
      const startedMs = clock.monotonicMs();
      const [, names] = (await trx.migrate.up({ migrationSource: ladder.source, schemaName: schema })) as [
        number,
        string[],
      ];
      const [step] = names;
      if (step === undefined) break;
      const { checksum = '', contract = false } = scripts.get(step) ?? {};
      const durationMs = clock.monotonicMs() - startedMs;
      const entry: Applied = { step, durationMs, checksum, contract, build };
      applied.push(entry);
      if (schema !== 'control') await recordApplied(session, schema, entry);
    }
    if (schema === 'control') await recordControl(session, applied);
    return applied.map(({ step }) => step);
  }

  return {
    inSchema,
    steps: async () => ({ control: await ladders.control.steps(), tenant: await ladders.tenant.steps() }),
    stop: () => knex.destroy(),
  };
}

/** The pg client under a knex transaction, so that repositories work in the same transaction as a migration. */
function connectionOf(trx: Knex.Transaction): Promise<ClientBase> {
  return (trx.client as { acquireConnection(): Promise<ClientBase> }).acquireConnection();
}
