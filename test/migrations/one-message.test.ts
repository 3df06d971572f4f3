import { beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { v7 as uuidv7 } from 'uuid';
import { systemClock } from '../../src/clock.ts';
import { type Applied, applySegment, Stopped } from '../../src/control/migrations/apply.ts';
import type { Rung } from '../../src/control/migrations/lock-ladder.ts';
import { createMigrator, type Migrator } from '../../src/control/migrations/migrator.ts';
import { segmentsOf } from '../../src/control/migrations/segments.ts';
import { schemaName } from '../../src/db/index.ts';
import { beforeDrop, useDatabase } from '../support/database.ts';
import { useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';

const database = useDatabase();
const fleet = useFleet(database);
const schema = schemaName('tenant_t01');
const run = uuidv7();
let migrator: Migrator;

beforeAll(async () => {
  await fleet.onboard('t01');
  // One connection: what a try leaves on it the next one meets.
  const adminUrl = database.env()['DATABASE_ADMIN_URL'] ?? '';
  migrator = createMigrator({ adminUrl, clock: systemClock, folder: fleet.folder, poolMax: 1 });
  beforeDrop(database, () => migrator.stop());
});
beforeEach(() => leaseIs(run));

const leaseIs = (holder: string) =>
  database.superuser(
    `insert into control.migration_lease (run, holder, expires_at) values ('${holder}', 'a test', now() + '1 hour')
     on conflict (one) do update set run = excluded.run`,
  );

/** Applies one step, and says whether more than a message was needed. */
async function apply(
  step: string,
  {
    ladder = [{ timeoutMs: 100, pauseMs: 0 }],
    by = migrator,
  }: { ladder?: readonly Rung[]; by?: Migrator } = {},
): Promise<Applied & { messages: 'one' | 'more' }> {
  const scripts = await migrator.scripts('tenant');
  const [segment] = segmentsOf(scripts.filter((script) => script.step === step));
  if (segment === undefined) throw new Error(`There is no step ${step}`);
  let messages: 'one' | 'more' = 'one';
  const watched: Migrator = {
    ...by,
    inSchema(...given) {
      messages = 'more';
      return by.inSchema(...given);
    },
  };
  const parts = {
    ...{ migrator: watched, clock: systemClock, statementTimeoutMs: 60_000 },
    ...{ rest: async () => undefined, limit: <T>(attempt: () => Promise<T>) => attempt() },
    // As of a process that has stood still: it has not heard that somebody else has the lease.
    ...{ signal: new AbortController().signal, ladders: { lock: ladder, patient: ladder } },
  };
  const applied = await applySegment(parts, schema, segment, { run, wave: 1 });
  return { ...applied, messages };
}

const ledgered = async (step: string) => [
  ...(await database.superuser(
    `select run, wave, attempts from control.migration_ledger where schema_name = $1 and migration = $2`,
    [schema, step],
  )),
  ...(await database.superuser(`select name from tenant_t01.knex_migrations where name = $1`, [step])),
];
const tableOf = async (step: string) =>
  (await database.superuser(`select from pg_tables where schemaname = $1 and tablename = $2`, [schema, step]))
    .length === 1;

/** A step that makes a table of its own name. */
async function addTable(step: string): Promise<string> {
  await fleet.addStep('tenant', step, `create table "${step}" (id int) -- a comment ends it`);
  return step;
}

describe('a step', () => {
  it('is one message where nothing is in its way, with its rows in both ledgers', async () => {
    const step = await addTable('9001_one');
    expect(await apply(step)).toEqual({ outcome: 'applied', steps: [step], messages: 'one' });
    expect(await tableOf(step)).toBe(true);
    expect(await ledgered(step)).toEqual([{ run, wave: 1, attempts: 1 }, { name: step }]);
  });

  it('that is there already is left alone', async () => {
    expect(await apply('9001_one')).toEqual({ outcome: 'applied', steps: [], messages: 'more' });
    expect(await ledgered('9001_one')).toHaveLength(2);
  });

  it('that fails leaves nothing, tells what PostgreSQL says, and the connection is as before', async () => {
    await fleet.addStep('tenant', '9002_two', 'create table half (id int); select 1 / 0 as pending');
    const failed = await apply('9002_two');
    expect(failed).toMatchObject({ outcome: 'failed', error: 'division by zero', messages: 'one' });
    expect(await ledgered('9002_two')).toEqual([]);
    expect(await tableOf('half')).toBe(false);
    expect(await apply(await addTable('9003_three'))).toMatchObject({ steps: ['9003_three'] });
  });

  it('that PostgreSQL cannot read fails as any other', async () => {
    await fleet.addStep('tenant', '9004_four', 'create tabel four (id int)');
    expect(await apply('9004_four')).toMatchObject({
      outcome: 'failed',
      error: expect.stringContaining('syntax error at or near "tabel"'),
    });
  });

  it('tries for its locks again, as often as the ladder has rungs', async () => {
    await fleet.addStep('tenant', '9005_five', 'alter table users add column five int');
    const ladder = [1, 2, 3].map(() => ({ timeoutMs: 20, pauseMs: 0 }));
    const failed = await holding(database, 'lock table tenant_t01.users', () =>
      apply('9005_five', { ladder }),
    );
    expect(failed).toMatchObject({ outcome: 'failed', error: expect.stringContaining('lock timeout') });
    expect(await apply('9005_five')).toMatchObject({ outcome: 'applied', messages: 'one' });
  });

  it('counts as applied when its answer was lost', async () => {
    const step = await addTable('9006_six');
    let lost = 0;
    const by: Migrator = {
      ...migrator,
      async applyWhole(...given) {
        const done = await migrator.applyWhole(...given);
        lost += 1;
        if (lost === 1) throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
        return done;
      },
    };
    const ladder = [1, 2].map(() => ({ timeoutMs: 100, pauseMs: 0 }));
    expect(await apply(step, { by, ladder })).toMatchObject({ outcome: 'applied', steps: [step] });
    expect(await ledgered(step)).toHaveLength(2);
  });

  it('waits while another runner is at work in the schema', async () => {
    const step = await addTable('9007_seven');
    const claimed = `select pg_advisory_xact_lock(hashtextextended('tenantry migrate ${schema}', 0))`;
    expect(await holding(database, claimed, () => apply(step))).toMatchObject({
      outcome: 'failed',
      error: 'Another runner is at work in this schema.',
    });
    expect(await tableOf(step)).toBe(false);
  });
});

describe('a runner that stood still while its lease was taken over', () => {
  beforeAll(async () => {
    // Knex applies what is next: what has failed would be.
    for (const step of ['9002_two', '9004_four', '9007_seven']) {
      await rm(path.join(fleet.folder, 'tenant', `${step}.ts`));
    }
  });

  it.each([
    ['9101_plain', { up: 'create table "9101_plain" (id int)' }],
    [
      '9102_opaque',
      {
        up: `const { rows } = await knex.raw('select 1 as one');
          if (rows[0].one === 1) await knex.raw('create table "9102_opaque" (id int)');`,
      },
    ],
    [
      '9103_values',
      {
        up: `await knex.raw('create table "9103_values" (id int)');
          await knex.raw('insert into "9103_values" values (?)', [1]);`,
      },
    ],
    [
      '9104_index',
      {
        up: 'create index concurrently "9104_index" on users (tenant_id, name)',
        more: 'export const config = { transaction: false };',
      },
    ],
    [
      '9105_backfill',
      {
        more: `export const backfill = { table: 'users', set: "name = 'changed'", where: "name <> 'changed'" };`,
      },
    ],
  ])('applies nothing of %s', async (step, file) => {
    await fleet.addFile('tenant', step, file);
    await leaseIs(uuidv7());
    await expect(apply(step)).rejects.toThrow(new Stopped('Another runner has taken the lease over.'));
    expect(await ledgered(step)).toEqual([]);
    expect(await database.superuser(`select from pg_class where relname = $1`, [step])).toEqual([]);
    expect(await database.superuser(`select from tenant_t01.users where name = 'changed'`)).toEqual([]);
    // It is the lease that was in its way.
    await leaseIs(run);
    expect(await apply(step)).toMatchObject({ outcome: 'applied', steps: [step] });
  });
});
