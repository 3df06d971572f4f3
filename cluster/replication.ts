/** How replicas hang on their primary: slots, streaming, having caught up. */
import { REPLICATOR } from './settings.ts';
import type { Ask } from './connection.ts';
import type { Server } from './server.ts';
import { waitUntil } from './wait.ts';

const STREAMING_MS = 10_000;
const CATCH_UP_MS = 60_000;
const PROMOTE_S = 30;

/**
 * Names a replica's slot and its connection. Only lower case letters, digits and underscores are allowed in slots. The
 * first primary needs one when it has become a replica of another.
 */
export function slotOf(node: number | 'primary'): string {
  return `replica_${node === 'primary' ? 0 : node + 1}`;
}

/**
 * Makes the replicators' role and one slot per replica; drops slots of replicas that are no longer wanted, which would
 * hold back the log.
 * @returns the replicas whose slot had to be made anew: what they still need may be gone from the log.
 */
export async function prepareSlots(primary: Server, replicas: number, password: string): Promise<number[]> {
  return primary.withConnection(async (ask) => {
    const roles = await ask(`select from pg_roles where rolname = $1`, [REPLICATOR]);
    // The password consists of base64url characters only; DDL takes no parameters.
    if (roles.length === 0) await ask(`create role ${REPLICATOR} login replication password '${password}'`);
    const wanted = Array.from({ length: replicas }, (_, replica) => slotOf(replica));
    await ask(
      String.raw`select pg_drop_replication_slot(slot_name) from pg_replication_slots
        where slot_name ~ '^replica_\d+$' and not active and (slot_name <> all ($1) or wal_status = 'lost')`,
      [wanted],
    );
    const made = await ask<{ slot: string }>(
      `select slot, pg_create_physical_replication_slot(slot, true) from unnest($1::text[]) slot
        where slot not in (select slot_name from pg_replication_slots)`,
      [wanted],
    );
    const names = new Set(made.map(({ slot }) => slot));
    return wanted.flatMap((slot, replica) => (names.has(slot) ? [replica] : []));
  });
}

/** What a replica of a promoted server hangs on; one that is there already is kept. */
export async function prepareSlot(primary: Server, slot: string): Promise<void> {
  await primary.withConnection((ask) =>
    ask(
      `select pg_create_physical_replication_slot($1, true)
        where not exists (select from pg_replication_slots where slot_name = $1)`,
      [slot],
    ),
  );
}

/** Resolves when the primary says that this replica streams. A replica answers queries some time before it does. */
export function waitUntilStreaming(primary: Server, slot: string): Promise<void> {
  return primary.withConnection((ask) =>
    waitUntil(`${slot} streams from the ${primary.name}`, STREAMING_MS, async () => {
      const rows = await ask(
        `select from pg_stat_replication where application_name = $1 and state = 'streaming'`,
        [slot],
      );
      return rows.length > 0;
    }).then(() => {}),
  );
}

/** Resolves when all these replicas have replayed whatever the primary has written up to now. */
export async function waitUntilCaughtUp(primary: Server, replicas: readonly Server[]): Promise<void> {
  const position = await primary.withConnection(writtenPosition);
  await Promise.all(replicas.map((replica) => waitUntilReplayed(replica, position)));
}

async function writtenPosition(ask: Ask): Promise<string> {
  const [row] = await ask<{ position: string }>(`select pg_current_wal_insert_lsn()::text as position`);
  // Only flushed log is sent, and what belongs to no commit (a rollback's, vacuum's) may wait seconds for its flush.
  // A commit flushes all before it.
  await ask(`set synchronous_commit = local`);
  await ask(`select pg_logical_emit_message(true, 'tenantry', '')`);
  return row?.position ?? '0/0';
}

async function waitUntilReplayed(replica: Server, position: string): Promise<void> {
  await replica.withConnection((ask) =>
    waitUntil(`the ${replica.name} has replayed ${position}`, CATCH_UP_MS, async () => {
      const [row] = await ask<{ reached: boolean }>(
        `select pg_last_wal_replay_lsn() >= $1::pg_lsn as reached`,
        [position],
      );
      return row?.reached === true;
    }),
  );
}

/** Makes a primary of the replica. */
export function promote(replica: Server): Promise<void> {
  return replica.withConnection(async (ask) => {
    const [row] = await ask<{ done: boolean }>(`select pg_promote(true, ${PROMOTE_S}) as done`);
    if (row?.done !== true) throw new Error(`The ${replica.name} was not promoted within ${PROMOTE_S} s`);
  });
}
