import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { systemClock } from '../../src/clock.ts';
import { type Lease, takeLease } from '../../src/control/migrations/lease.ts';
import { findRun, insertRun, want } from '../../src/control/migrations/runs.ts';
import {
  type ControlDatabase,
  createControlDatabase,
  createLentPool,
  schemaName,
} from '../../src/db/index.ts';
import { withConnection } from '../support/connection.ts';
import { beforeDrop, useDatabase } from '../support/database.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
let control: ControlDatabase;
const held: Lease[] = [];

beforeAll(() => {
  const url = String(database.env()['DATABASE_ADMIN_URL']);
  control = createControlDatabase({ url, schema: schemaName('control'), clock: systemClock });
  beforeDrop(database, () => control.stop());
});
afterEach(async () => {
  for (const lease of held.splice(0)) await lease.release();
});

async function newRun(): Promise<string> {
  const id = uuidv7();
  await control.write((session) => insertRun(session, { id, options: {}, requestedBy: 'test' }));
  return id;
}

async function take(run: string, holder = 'somebody'): Promise<Lease> {
  const url = String(database.env()['DATABASE_ADMIN_URL']);
  const connect = (applicationName: string) =>
    createLentPool({ url, max: 1, applicationName, onError: () => undefined });
  const lease = await takeLease({ database: control, clock: systemClock, connect }, run, holder);
  held.push(lease);
  return lease;
}

const leases = () => database.superuser<{ run: string }>('select run, holder from control.migration_lease');
const sessionsOf = ({ applicationName }: Lease) =>
  database.superuser('select pid from pg_stat_activity where application_name = $1', [applicationName]);
const running = (run: string) =>
  database.superuser(`update control.migration_runs set status = 'running' where id = $1`, [run]);

it('is held by one run, which the others are told', async () => {
  const [first, second] = [await newRun(), await newRun()];
  const lease = await take(first, 'vm pid 1');
  await expect(take(second)).rejects.toMatchObject({
    code: 'run_under_way',
    message: expect.stringMatching(
      new RegExp(`^Run ${first} holds the lease: vm pid 1 .* last heard of at 20`),
    ),
  });
  expect(lease.lost.aborted).toBe(false);
  expect(await leases()).toMatchObject([{ run: first }]);
});

it('is taken by exactly one of many that come at once', async () => {
  const runs = await Promise.all(Array.from({ length: 8 }, newRun));
  const outcomes = await Promise.allSettled(runs.map((run) => take(run)));
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
});

const lockedBy = ({ applicationName }: Lease) =>
  database.superuser(
    `select from pg_locks join pg_stat_activity using (pid)
     where locktype = 'advisory' and granted and application_name = $1`,
    [applicationName],
  );

it('is not taken while another one has its lock and not yet its row, and is when that comes to nothing', async () => {
  const begun = `select pg_advisory_lock(hashtextextended('tenantry fleet', 0))`;
  await withConnection(database.superuserUrl(), async (other) => {
    await other.query(begun);
    await expect(take(await newRun())).rejects.toMatchObject({ code: 'run_under_way' });
    expect(await leases()).toEqual([]);
  });
  const lease = await withConnection(database.superuserUrl(), async (other) => {
    await other.query(begun);
    const taken = take(await newRun());
    await other.query('select pg_advisory_unlock_all()');
    return taken;
  });
  expect(lease.lost.aborted).toBe(false);
  expect(await lockedBy(lease)).toHaveLength(1);
});

it('is free again when it is released, and nothing is left of it', async () => {
  const lease = await take(await newRun());
  await lease.release();
  held.length = 0;
  expect(await leases()).toEqual([]);
  await until(async () => (await sessionsOf(lease)).length === 0, 'its connection to be gone');
  await take(await newRun());
});

it('is taken over at once from a process that has died, whose run is abandoned', async () => {
  const [dead, next] = [await newRun(), await newRun()];
  const lost = await take(dead);
  await running(dead);
  // As the server sees a kill -9: the connection is gone, and the row says that somebody was here a moment ago.
  await database.superuser(
    'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1',
    [lost.applicationName],
  );
  await until(async () => (await sessionsOf(lost)).length === 0, 'the connection to be gone');
  await take(next);
  expect(await leases()).toMatchObject([{ run: next }]);
  expect(await control.read((session) => findRun(session, dead))).toMatchObject({ status: 'abandoned' });
  expect(lost.lost.aborted).toBe(true);
});

it('is not taken from a process that stands still until it has expired; then its sessions are ended', async () => {
  const [frozen, next] = [await newRun(), await newRun()];
  const lease = await take(frozen);
  await expect(take(next)).rejects.toMatchObject({ code: 'run_under_way' });
  // Held in one statement, so that the heartbeat of this process does not come in between.
  await database.superuser(`update control.migration_lease set holder = 'vm pid 1 ' || right(holder, 8),
    expires_at = now() - interval '1 second'`);
  const taken = await take(next);
  // Else the next to come would find the lock free, and this one dead.
  expect(await lockedBy(taken)).toHaveLength(1);
  await until(async () => (await sessionsOf(lease)).length === 0, 'its sessions to be ended');
  await until(() => lease.lost.aborted, 'the former holder to notice');
  expect(await leases()).toMatchObject([{ run: next }]);
});

it('tells what the operator wants of the run', async () => {
  const run = await newRun();
  const lease = await take(run);
  expect(lease.wanted()).toBe('run');
  await control.write((session) => want(session, run, 'pause'));
  await until(() => lease.wanted() === 'pause', 'the wish to arrive');
});
