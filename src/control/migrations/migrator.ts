import createKnex, { type Knex } from 'knex';
import type { ClientBase } from 'pg';
import type { Clock } from '../../clock.ts';
import {
  type Author,
  runWhole,
  type SchemaName,
  sessionOn,
  type Tenant,
  tenantContext,
  translateError,
  type WriteSession,
} from '../../db/index.ts';
import { unavailable } from '../../errors.ts';
import { climbFromNothing } from './from-nothing.ts';
import { createLadder, type Ladder, type LadderName } from './ladder.ts';
import {
  forgetSchema,
  provisioningKey,
  recordControl,
  recordSql,
  recordTakenBack,
  type RunOf,
  sinceBegin,
} from './ledger.ts';
import { recordOf, replay } from './replay.ts';
import { isPassing, sqlStateOf } from './lock-ladder.ts';
import { isPlain, type Script } from './script.ts';
import { claimSql, proviso, type Survey, surveyOf } from './survey.ts';

/**
 * Applies migrations to one schema at a time, in one transaction with the ledgers, as tenantry_owner and on
 * connections of its own: what a migration does to its session never reaches the serving pool.
 */
export interface Migrator {
  /**
   * One transaction whose unqualified names mean `schema`. Rolled back as a whole when `fn` throws.
   *
   * @param options in milliseconds: `lockTimeoutMs` instead of that of all transactions; `statementTimeoutMs`, default none;
   *   `idleMs`: the server ends the transaction when it has not heard of us for so long, default never
   */
  inSchema<T>(
    schema: SchemaName,
    fn: (work: SchemaWork) => Promise<T>,
    options?: TransactionLimits,
  ): Promise<T>;
  /**
   * All that inSchema() does for a step of a run, in one message: the transaction with its limits, claim, survey, the step
   * and the ledgers.
   *
   * @returns false when nothing has been done: it cannot be known before what the step executes, or something is not as it
   *   should be there. inSchema() tells what
   * @throws what PostgreSQL says of the step, or of its locks
   */
  applyWhole(schema: SchemaName, script: Script, run: RunOf, limits: TransactionLimits): Promise<boolean>;
  steps(): Promise<Record<LadderName, string[]>>;
  /** What the steps would execute. */
  scripts(ladder: LadderName): Promise<readonly Script[]>;
  /**
   * Outside of any transaction, on a connection for this alone whose unqualified names mean `schema`: for statements that
   * must not be in one.
   */
  outside<T>(schema: SchemaName, fn: (client: ClientBase) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export interface TransactionLimits {
  lockTimeoutMs?: number;
  statementTimeoutMs?: number;
  idleMs?: number;
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
  /** Claims the schema and looks at it. @throws AppError unavailable while another runner is at work here */
  survey(run: string): Promise<Survey>;
  /** Applies the step that is next. After survey(). */
  apply(script: Script, run: RunOf): Promise<void>;
  /** Takes the newest step back. @returns its name. @throws Error when there is none */
  descend(): Promise<string>;
  /** Writes down that it was applied, outside of this transaction. After survey(). */
  record(script: Script, run: RunOf): Promise<void>;
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
  /** Names the connections to the server. Default `tenantry-migrate`. */
  applicationName?: string;
  /** A statement that waits longer for a lock fails, so that it does not hold up what queues behind it. Default 2000. */
  lockTimeoutMs?: number;
  /** Where the ladders are; the project's own by default. */
  folder?: string;
}

const silent = () => undefined;

export function createMigrator(options: MigratorOptions): Migrator {
  const { adminUrl, clock, poolMax = 4, lockTimeoutMs = 2000, folder } = options;
  const { applicationName = 'tenantry-migrate' } = options;
  const ladders = { control: createLadder('control', folder), tenant: createLadder('tenant', folder) };
  const knex = createKnex({
    client: 'pg',
    connection: {
      connectionString: adminUrl,
      application_name: applicationName,
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
    limits: TransactionLimits = {},
  ): Promise<T> {
    return knex.transaction(async (trx) => {
      await trx.raw(settingsOf(schema, limits).join('; '));
      return fn(workIn(trx, schema));
    });
  }

  function settingsOf(schema: SchemaName, limits: TransactionLimits): string[] {
    const settings = [
      // A runner that is killed lets go of its locks: the server notices within half a second.
      `client_connection_check_interval = '500ms'`,
      `lock_timeout = ${limits.lockTimeoutMs ?? lockTimeoutMs}`,
      `statement_timeout = ${limits.statementTimeoutMs ?? 0}`,
      `search_path = "${schema}", pg_temp`,
    ];
    if (limits.idleMs !== undefined) settings.push(`idle_in_transaction_session_timeout = ${limits.idleMs}`);
    return settings.map((setting) => `set local ${setting}`);
  }

  async function applyWhole(
    schema: SchemaName,
    script: Script,
    run: RunOf,
    limits: TransactionLimits,
  ): Promise<boolean> {
    if (!isPlain(script)) return false;
    let begun = false;
    const statements = [
      ...[...settingsOf(schema, limits), ...proviso(schema, script.step, run.id)],
      ...[...script.statements.map(({ sql }) => sql), recordOf(schema, script, run)],
    ];
    const connection = await connectionOf(knex);
    try {
      await runWhole(connection, statements, (row) => {
        begun ||= 'pending' in row;
      });
      return true;
    } catch (error) {
      // What the driver says of a connection that is lost has no code.
      const told = sqlStateOf(error) === undefined ? translateError(error) : error;
      if (begun || isPassing(told)) throw told;
      return false;
    } finally {
      await (knex.client as KnexClient).releaseConnection(connection);
    }
  }

  function workIn(trx: Knex.Transaction, schema: SchemaName): SchemaWork {
    const session = async (tenant?: Tenant, author?: Author) => {
      if (tenant !== undefined) await trx.raw(tenantContext(tenant));
      return sessionOn(await connectionOf(trx), tenant, author);
    };
    return {
      async createSchema({ ifMissing = false } = {}) {
        await claim(schema, await session());
        const grant = schema === 'control' ? '' : `; grant usage on schema "${schema}" to tenantry_app`;
        // The lock, so that the end of a run of the fleet sees who is about to add to it.
        await trx.raw(`select pg_advisory_xact_lock_shared(${provisioningKey});
          create schema ${ifMissing ? 'if not exists ' : ''}"${schema}"${grant}`);
      },
      async dropSchema() {
        const control = await session();
        await claim(schema, control);
        await trx.raw(`drop schema if exists "${schema}" cascade`);
        await forgetSchema(control, schema);
      },
      climb: async () => climb(trx, schema, await session()),
      async survey(run) {
        const control = await session();
        await claim(schema, control);
        return surveyOf(control, schema, run);
      },
      async apply(script, run) {
        const connection = await connectionOf(trx);
        if (script.opaque === undefined) return replay(connection, schema, script, run);
        const done = await nextStep(trx, schema, ladderOf(schema));
        if (done !== script.step) {
          throw new Error(`Knex would apply ${done ?? 'nothing'} where ${script.step} is pending.`);
        }
        await connection.query(recordSql(schema, [script], sinceBegin, run));
      },
      async descend() {
        const control = await session();
        await claim(schema, control);
        const { source } = ladderOf(schema);
        const [, [step]] = (await trx.migrate.down({ migrationSource: source, schemaName: schema })) as [
          number,
          string[],
        ];
        if (step === undefined) throw new Error('There is nothing to take back.');
        const left = (await ladderOf(schema).scripts()).filter((script) => script.step < step);
        await recordTakenBack(control, schema, step, left.findLast(({ contract }) => contract)?.step);
        return step;
      },
      async record(script, run) {
        await (await connectionOf(trx)).query(recordOf(schema, script, run));
      },
      session,
    };
  }

  /**
   * Until the transaction ends this runner is the only one at work in the schema.
   *
   * @returns whether no table is there
   * @throws AppError unavailable
   */
  async function claim(schema: SchemaName, session: WriteSession): Promise<{ empty: boolean }> {
    const [lock] = await session.query<{ taken: boolean; empty: boolean }>(
      `select ${claimSql('$1')} as taken,
         not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1) as empty`,
      [schema],
    );
    if (lock?.taken !== true) throw unavailable('Another runner is at work in this schema.');
    return lock;
  }

  async function climb(trx: Knex.Transaction, schema: SchemaName, session: WriteSession): Promise<string[]> {
    const { empty } = await claim(schema, session);
    const ladder = ladderOf(schema);
    const all = await ladder.scripts();
    const known = empty && schema !== 'control';
    const ahead = known ? await climbFromNothing(await connectionOf(trx), schema, all) : [];
    if (ahead.length === all.length) return ahead;
    const applied: { step: string; checksum: string; durationMs: number }[] = [];
    for (;;) {
      const startedMs = clock.monotonicMs();
      const step = await nextStep(trx, schema, ladder);
      if (step === undefined) break;
      const durationMs = clock.monotonicMs() - startedMs;
      const script = all.find((one) => one.step === step);
      if (script === undefined) throw new Error(`Knex has applied ${step}, which is not of the ladder.`);
      applied.push({ step, checksum: script.checksum, durationMs });
      if (schema !== 'control') {
        const sql = recordSql(schema, [script], String(Math.round(durationMs)));
        await (await connectionOf(trx)).query(sql);
      }
    }
    if (schema === 'control') await recordControl(session, applied);
    return [...ahead, ...applied.map(({ step }) => step)];
  }

  const ladderOf = (schema: SchemaName) => ladders[schema === 'control' ? 'control' : 'tenant'];

  async function outside<T>(schema: SchemaName, fn: (client: ClientBase) => Promise<T>): Promise<T> {
    const connection = await connectionOf(knex);
    try {
      await connection.query(
        `set search_path = "${schema}", pg_temp; set client_connection_check_interval = '500ms'`,
      );
      return await fn(connection);
    } finally {
      // Knex throws away what is marked so, instead of lending it again.
      Object.assign(connection, { __knex__disposed: true });
      await (knex.client as KnexClient).releaseConnection(connection);
    }
  }

  return {
    inSchema,
    applyWhole,
    outside,
    scripts: (ladder) => ladders[ladder].scripts(),
    steps: async () => ({ control: await ladders.control.steps(), tenant: await ladders.tenant.steps() }),
    stop: () => knex.destroy(),
  };
}

/** Knex applies one step, and keeps its own ledger. @returns its name; undefined when there was none */
async function nextStep(trx: Knex, schema: SchemaName, { source }: Ladder): Promise<string | undefined> {
  const options = { migrationSource: source, schemaName: schema };
  const [, names] = (await trx.migrate.up(options)) as [number, string[]];
  return names[0];
}

interface KnexClient {
  acquireConnection(): Promise<ClientBase>;
  releaseConnection(connection: ClientBase): Promise<void>;
}

/** The pg client under a knex transaction, so that repositories work in the same transaction as a migration. */
function connectionOf(knex: Knex): Promise<ClientBase> {
  return (knex.client as KnexClient).acquireConnection();
}
