import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../clock.ts';
import {
  type ControlDatabase,
  type LentPool,
  type ReadSession,
  translateError,
  type WriteSession,
} from '../../db/index.ts';
import { AppError, unavailable } from '../../errors.ts';

/**
 * One run at a time. Who holds the lease says so in a row, again and again, and holds an advisory lock on a connection of
 * its own besides: when its process dies the server lets go of the lock at once, and nobody has to wait until the row
 * has expired. The row alone decides about one that is frozen or cut off. The lock is only ever tried for: a session
 * that waits for one would hold up every CREATE INDEX CONCURRENTLY.
 */
export interface Lease {
  readonly run: string;
  /** How connections of the run name themselves, so that whoever takes the lease over can end what is left of them. */
  readonly applicationName: string;
  /** Aborted when it is somebody else's, or nobody has heard of us for too long. */
  readonly lost: AbortSignal;
  /** What the operator wants of the run. Told with every heartbeat. */
  wanted(): Wanted;
  release(): Promise<void>;
}

export type Wanted = 'run' | 'pause' | 'cancel';

export interface LeaseParts {
  database: ControlDatabase;
  clock: Clock;
  /** One connection, for as long as the lease is held. */
  connect: (applicationName: string) => LentPool;
}

export const beatMs = 1000;
/** For so long nobody takes over a lease that is not heard of, while its process may live. */
export const expiryMs = 10_000;
const retryMs = 50;
const maxTries = 40;
const lock = `hashtextextended('tenantry fleet', 0)`;

/**
 * @param run of control.migration_runs, or about to be
 * @param holder told to whoever finds the lease held
 * @throws AppError run_under_way
 */
export async function takeLease(
  { database, clock, connect }: LeaseParts,
  run: string,
  holder: string,
): Promise<Lease> {
  const lost = new AbortController();
  const own = `${holder} ${randomBytes(4).toString('hex')}`;
  const applicationName = nameOf(own);
  const connection = connect(applicationName);
  const client = await connection.pool.connect().catch(async (error: unknown) => {
    await connection.end();
    throw translateError(error);
  });
  client.once('end', () => lost.abort(new Error('The connection that held the lease is gone.')));
  async function letGo(): Promise<void> {
    client.removeAllListeners('end');
    client.release(true);
    await connection.end();
  }
  async function tryLock(): Promise<boolean> {
    const { rows } = await client.query<{ taken: boolean }>(`select pg_try_advisory_lock(${lock}) as taken`);
    return rows[0]?.taken === true;
  }
  try {
    let alone = await tryLock();
    const tryClaim = () => database.write((session) => claim(session, { run, holder: own, alone }));
    // There is a lock and no row while another one is about to write it, or has just released both.
    for (let tries = 1; !(await tryClaim()); tries += 1) {
      if (tries === maxTries) throw new AppError('run_under_way', 'Another run is beginning at this moment.');
      await sleep(retryMs);
      alone = await tryLock();
    }
    // Who was frozen has been ended, and its lock goes with its connection.
    for (let tries = 1; !alone; tries += 1) {
      if (tries === maxTries) throw unavailable('The lock of the run before is still held.');
      await sleep(retryMs);
      alone = await tryLock();
    }
  } catch (error) {
    await letGo();
    throw error;
  }

  let wanted: Wanted = 'run';
  let heardMs = clock.monotonicMs();
  let beating: Promise<void> | undefined;
  async function beat(): Promise<void> {
    try {
      const heard = await database.write((session) => beatOnce(session, run, own));
      if (heard === undefined) lost.abort(new Error('Another runner has taken the lease over.'));
      else wanted = heard;
      heardMs = clock.monotonicMs();
    } catch {
      // Said again soon; who cannot be heard must stop before others begin.
      if (clock.monotonicMs() - heardMs > expiryMs - 2 * beatMs) {
        lost.abort(new Error('The lease could not be renewed.'));
      }
    }
  }
  const timer = setInterval(() => {
    beating ??= beat().finally(() => {
      beating = undefined;
    });
  }, beatMs);

  return {
    run,
    applicationName,
    lost: lost.signal,
    wanted: () => wanted,
    async release() {
      clearInterval(timer);
      await beating;
      // The row first: who gets the lock believes that the holder has died.
      await database
        .write((session) =>
          session.query('delete from control.migration_lease where run = $1 and holder = $2', [run, own]),
        )
        .catch(() => undefined); // it expires
      await letGo();
    },
  };
}

/** Who is at work at the whole fleet; undefined: nobody. */
export async function leaseHolder(session: ReadSession): Promise<string | undefined> {
  const [row] = await session.query<{ holder: string }>(
    'select holder from control.migration_lease where expires_at > now()',
  );
  return row?.holder;
}

/** The last word of a holder is its own alone. */
const nameOf = (holder: string) => `tenantry-migrate ${holder.split(' ').at(-1)}`;

/**
 * @param alone nobody else holds the lock: the holder of the row has died
 * @returns false, and nothing is changed, when somebody holds the lock and nobody the row
 * @throws AppError run_under_way
 */
async function claim(
  session: WriteSession,
  { run, holder, alone }: { run: string; holder: string; alone: boolean },
): Promise<boolean> {
  // Two that come at once meet here, whether there is a row or not.
  await session.query('lock table control.migration_lease in share row exclusive mode');
  const [held] = await session.query<{ run: string; holder: string; heard: string; expired: boolean }>(
    `select run, holder, heartbeat_at as heard, expires_at < clock_timestamp() as expired
     from control.migration_lease`,
  );
  if (held !== undefined && !alone && !held.expired) {
    throw new AppError(
      'run_under_way',
      `Run ${held.run} holds the lease: ${held.holder}, last heard of at ${held.heard}.`,
    );
  }
  if (held === undefined && !alone) return false;
  if (held !== undefined) await endSessions(session, held.holder);
  await session.query(
    `insert into control.migration_lease (run, holder, expires_at)
     values ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
     on conflict (one) do update set run = excluded.run, holder = excluded.holder, taken_at = now(),
       heartbeat_at = now(), expires_at = excluded.expires_at`,
    [run, holder, expiryMs],
  );
  await session.query(
    `update control.migration_runs set status = 'abandoned', finished_at = now(),
       reason = 'Its runner was not heard of any more.'
     where id <> $1 and status in ('running', 'paused')`,
    [run],
  );
  return true;
}

/** A frozen process must neither keep its locks nor go on when it thaws. */
async function endSessions(session: WriteSession, holder: string): Promise<void> {
  await session.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where application_name = $1 and usename = current_user and pid <> pg_backend_pid()`,
    [nameOf(holder)],
  );
}

async function beatOnce(session: WriteSession, run: string, holder: string): Promise<Wanted | undefined> {
  const [row] = await session.query<{ wanted: Wanted }>(
    `update control.migration_lease set heartbeat_at = clock_timestamp(),
       expires_at = clock_timestamp() + $3 * interval '1 millisecond'
     where run = $1 and holder = $2
     returning coalesce((select wanted from control.migration_runs r where r.id = run), 'run') as wanted`,
    [run, holder, expiryMs],
  );
  return row?.wanted;
}
