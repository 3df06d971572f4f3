/** Faults that are lent for the length of a block and always taken back, also when the block throws. */
import type { Account } from './account.ts';
import { undoAltered } from './data-directory.ts';
import type { Server } from './server.ts';
import { waitUntil } from './wait.ts';

const SETTLE_MS = 10_000;

/** Runs `fn` while the fault is there. The error of `fn` is thrown rather than one of the repair. */
export async function during<T>(
  cause: () => Promise<void>,
  repair: () => Promise<void>,
  fn: () => Promise<T>,
): Promise<T> {
  let result: T;
  try {
    await cause();
    result = await fn();
  } catch (error) {
    await repair().catch(() => {});
    throw error;
  }
  await repair();
  return result;
}

/** Resolves when replay has really stopped; the request alone lets it finish the record at hand. */
export function pause(replica: Server): Promise<void> {
  return replica.withConnection(async (ask) => {
    await ask(`select pg_wal_replay_pause()`);
    await waitUntil(`replay of the ${replica.name} is paused`, SETTLE_MS, async () => {
      const [row] = await ask<{ state: string }>(`select pg_get_wal_replay_pause_state() as state`);
      return row?.state === 'paused';
    });
  });
}

/** A replica that was restarted or promoted meanwhile is not paused any more. */
export async function resume(replica: Server): Promise<void> {
  if (!replica.running) return;
  await replica.withConnection((ask) => ask(`select pg_wal_replay_resume() where pg_is_in_recovery()`));
}

/** Takes the replica's primary away. It goes on answering reads, and does not know that it gets old. */
export function cut(replica: Server): Promise<void> {
  return replica.withConnection(async (ask) => {
    await ask(`alter system set primary_conninfo = ''`);
    await ask(`select pg_reload_conf()`);
    await waitUntil(`the ${replica.name} has lost its primary`, SETTLE_MS, async () => {
      const receivers = await ask(`select from pg_stat_wal_receiver`);
      return receivers.length === 0;
    });
  });
}

export function delay(replica: Server, delayMs: number): Promise<void> {
  return replica.withConnection(async (ask) => {
    await ask(`alter system set recovery_min_apply_delay = '${Math.round(delayMs)}ms'`);
    await ask(`select pg_reload_conf()`);
    await waitUntil(`the ${replica.name} delays its replay`, SETTLE_MS, async () => {
      const [row] = await ask<{ setting: string }>(
        `select setting from pg_settings where name = 'recovery_min_apply_delay'`,
      );
      return Number(row?.setting) === Math.round(delayMs);
    });
  });
}

/** Undoes `cut`. The replica finds its primary again by itself. */
export function reconnect(replica: Server, account: Account | undefined): Promise<void> {
  return heal(replica, 'primary_conninfo', account);
}

/** Undoes `delay`. */
export function hurry(replica: Server, account: Account | undefined): Promise<void> {
  return heal(replica, 'recovery_min_apply_delay', account);
}

async function heal(replica: Server, setting: string, account: Account | undefined): Promise<void> {
  await undoAltered(replica.dataDir, setting, account);
  if (replica.running) await replica.withConnection((ask) => ask(`select pg_reload_conf()`));
}
