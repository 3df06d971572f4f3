import { randomBytes } from 'node:crypto';
import {
  type ControlDatabase,
  type ReadSession,
  type SchemaName,
  schemaName,
  type WriteSession,
} from '../../db/index.ts';
import { provisioningKey } from '../migrations/ledger.ts';
import type { Migrator, SchemaWork } from '../migrations/migrator.ts';
import type { Script } from '../migrations/script.ts';
import type { Step } from './service.ts';

/**
 * Schemas with all tables that wait for a tenant, under the name `warm_<hex>`: to give one away is to rename it. Nobody but
 * tenantry_owner comes to a schema that waits, so there is nothing in it.
 */
export interface WarmPool {
  /**
   * Gives a tenant's schema its name, its rights and its place in the ledgers, in the transaction in which the tenant is
   * made: rolled back, the schema waits again.
   *
   * @returns false when none waits that has exactly the steps of this build; then the schema is to be made
   */
  claim(work: Pick<SchemaWork, 'session'>, schema: SchemaName): Promise<boolean>;
  /**
   * Makes what is missing and drops what is outdated or too many, each in a transaction of its own. Of processes that do
   * so at once one goes on; within a process all wait for the same work.
   */
  tend(): Promise<void>;
  /** How many waited when this process last looked; undefined before. */
  ready(): number | undefined;
  /** What is being made or dropped is finished. tend() does nothing any more. */
  stop(): Promise<void>;
}

export interface WarmPoolOptions {
  database: ControlDatabase;
  migrator: Migrator;
  /** How many are to wait; by 0 none is given away, and those that are there are dropped. */
  size: number;
  /** Told of every step that a crash could come after. For tests. */
  step?: Step;
}

/** A schema that waits. */
export interface Waiting {
  schema: SchemaName;
  /** Each of its steps with the checksum, as stepsOf() has them. */
  steps: readonly string[];
  /** It has been there for a while. */
  settled: boolean;
}

export type Task = { make: true } | { drop: SchemaName };

/**
 * Processes of different builds or settings, as during a deployment, must not make and drop against each other all the
 * time.
 */
const settledAfter = '1 minute';

export function createWarmPool(options: WarmPoolOptions): WarmPool {
  const { database, migrator, size, step = () => undefined } = options;
  const wanted = async () => stepsOf(await migrator.scripts('tenant'));
  let tending: Promise<void> | undefined;
  let stopped = false;
  let ready: number | undefined;

  async function look(session: ReadSession): Promise<Task | undefined> {
    const [steps, waiting] = [await wanted(), await findWaiting(session)];
    ready = waiting.filter((one) => standingOf(one.steps, steps) === 'ready').length;
    return nextTask(waiting, steps, size);
  }

  async function tendAll(): Promise<void> {
    for (;;) {
      const task = stopped ? undefined : await database.read(look);
      if (task === undefined || stopped) return;
      const done = 'drop' in task ? await drop(task.drop) : await make();
      if (!done) return;
    }
  }

  /** @returns false when another process is at it */
  function make(): Promise<boolean> {
    const name = schemaName(`warm_${randomBytes(8).toString('hex')}`);
    return migrator.inSchema(name, async (work) => {
      const session = await work.session();
      if (!(await takeTurn(session))) return false;
      const task = await look(session);
      if (task === undefined || 'drop' in task) return true;
      await session.query(`create schema "${name}"`);
      const steps = await work.climb();
      await step('warm: a schema is made');
      await session.query('insert into control.warm_schemas (schema_name, version) values ($1, $2)', [
        name,
        steps.at(-1) ?? '',
      ]);
      await requireReady(session, name);
      await step('warm: it waits');
      return true;
    });
  }

  /** @throws Error for one that does not count: others would be made in its place without end */
  async function requireReady(session: ReadSession, schema: SchemaName): Promise<void> {
    const own = (await findWaiting(session)).find((one) => one.schema === schema);
    if (own !== undefined && standingOf(own.steps, await wanted()) === 'ready') return;
    throw new Error('A schema that was just made does not stand in the ledger with the steps of this build.');
  }

  /** @returns whether it is gone */
  function drop(schema: SchemaName): Promise<boolean> {
    return migrator.inSchema(schema, async (work) => {
      const [own] = await (await work.session()).query(
        `with own as (select schema_name from control.warm_schemas where schema_name = $1 for update skip locked)
         delete from control.warm_schemas w using own where w.schema_name = own.schema_name returning 1`,
        [schema],
      );
      if (own === undefined) return false;
      await step('warm: one is not offered any more');
      await work.dropSchema();
      await step('warm: one is dropped');
      return true;
    });
  }

  return {
    async claim(work, schema) {
      if (size === 0) return false;
      const session = await work.session();
      const steps = await wanted();
      const taken = await take(session, schema, steps);
      if (taken === undefined) return false;
      await session.query(
        `do $$ begin
           alter schema "${taken}" rename to "${schema}";
           grant usage on schema "${schema}" to tenantry_app;
         end $$`,
      );
      return true;
    },
    tend() {
      tending ??= tendAll().finally(() => {
        tending = undefined;
      });
      return tending;
    },
    ready: () => ready,
    async stop() {
      stopped = true;
      await tending?.catch(() => undefined); // whoever began it is told
    },
  };
}

/** In the order of the ladder; the same only for schemas that nothing tells apart. */
export function stepsOf(scripts: readonly Pick<Script, 'step' | 'checksum'>[]): string[] {
  return scripts.map(({ step, checksum }) => `${step} ${checksum}`);
}

/** `newer`: of a build that has steps which this one does not know, and which will want it. */
function standingOf(steps: readonly string[], wanted: readonly string[]): 'ready' | 'older' | 'newer' {
  if (steps.length === wanted.length && steps.every((one, index) => one === wanted[index])) return 'ready';
  const known = new Set(wanted.map(nameOf));
  return steps.every((one) => known.has(nameOf(one))) ? 'older' : 'newer';
}

const nameOf = (step: string) => step.split(' ', 1)[0];

/** What is to be done next, oldest first; undefined when all is as it should be. Tenants wait for what is made, not for what is dropped. */
export function nextTask(
  waiting: readonly Waiting[],
  wanted: readonly string[],
  size: number,
): Task | undefined {
  const standing = (which: 'ready' | 'older') =>
    waiting.filter(({ steps }) => standingOf(steps, wanted) === which);
  const ready = standing('ready');
  if (ready.length < size) return { make: true };
  const tooMany = ready.slice(0, ready.length - size);
  const outdated = [...standing('older'), ...tooMany].find(({ settled }) => settled);
  return outdated && { drop: outdated.schema };
}

async function findWaiting(session: ReadSession): Promise<Waiting[]> {
  return session.query<Waiting>(
    `select w.schema_name as schema, ${stepsHeld} as steps, w.made_at < now() - interval '${settledAfter}' as settled
     from control.warm_schemas w order by w.made_at, w.schema_name`,
  );
}

const stepsHeld = `array(
  select l.migration || ' ' || coalesce(l.checksum, '') from control.migration_ledger l
  where l.schema_name = w.schema_name order by l.migration collate "C")`;

/** Until the transaction ends nobody else makes one. */
async function takeTurn(session: WriteSession): Promise<boolean> {
  const [lock] = await session.query<{ taken: boolean }>(
    `select pg_try_advisory_xact_lock(hashtextextended('tenantry warm', 0)) as taken`,
  );
  return lock?.taken === true;
}

/** The end of a run of the fleet sees who is about to add to it. @returns what the schema is called until now */
async function take(
  session: WriteSession,
  schema: SchemaName,
  steps: readonly string[],
): Promise<SchemaName | undefined> {
  const [taken] = await session.query<{ schema: SchemaName }>(
    `with one as (
       select w.schema_name from control.warm_schemas w where ${stepsHeld} = $2::text[]
       order by w.made_at, w.schema_name limit 1 for update of w skip locked),
     taken as (delete from control.warm_schemas w using one where w.schema_name = one.schema_name returning one.schema_name),
     ledger as (
       update control.migration_ledger l set schema_name = $1 from taken where l.schema_name = taken.schema_name),
     versions as (
       update control.schema_versions v set schema_name = $1 from taken where v.schema_name = taken.schema_name),
     failures as (delete from control.migration_failures f using taken where f.schema_name = $1)
     select schema_name as schema, pg_advisory_xact_lock_shared(${provisioningKey})::text from taken`,
    [schema, steps],
    {},
    'warm_schemas.take',
  );
  return taken?.schema;
}
