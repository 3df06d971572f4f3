/** What comes after a promotion: replicas are turned to the new primary, and the old one is made a replica of it. */
import { configure, copyRunning } from './data-directory.ts';
import { prepareSlot, waitUntilStreaming } from './replication.ts';
import type { Server } from './server.ts';
import type { Account } from './account.ts';

export interface Household {
  account: Account | undefined;
  replicatorPassword: string;
  durable: boolean;
  replicas: number;
}

/**
 * Turns a replica to another primary; resolves when it streams from there.
 * @throws when it has replayed more than the new primary had when it was promoted: then only `rebuild` helps
 */
export async function follow(server: Server, leader: Server, slot: string, house: Household): Promise<void> {
  await prepareSlot(leader, slot);
  await configureToFollow(server, leader, slot, house);
  if (!server.running) return;
  await server.withConnection((ask) => ask(`select pg_reload_conf()`));
  await waitUntilStreaming(leader, slot);
}

/**
 * Makes the server a replica of `leader`, which goes on serving meanwhile (PostgreSQL's low-level backup). What it had
 * is gone. Resolves when it streams.
 */
export async function rebuild(server: Server, leader: Server, slot: string, house: Household): Promise<void> {
  await server.stop();
  await prepareSlot(leader, slot);
  await leader.withConnection(async (ask) => {
    await ask(`select pg_backup_start('rebuild', true)`);
    await copyRunning(leader.dataDir, server.dataDir, house.account, async () => {
      const [row] = await ask<{ labelfile: string }>(`select labelfile from pg_backup_stop(false)`);
      return row?.labelfile ?? '';
    });
  });
  await configureToFollow(server, leader, slot, house);
  await server.start(server.port);
  await waitUntilStreaming(leader, slot);
}

function configureToFollow(server: Server, leader: Server, slot: string, house: Household): Promise<void> {
  const { account, replicatorPassword: password, durable, replicas } = house;
  const following = { primaryPort: leader.port, password, slot };
  return configure(server.dataDir, { port: server.port, durable, replicas }, following, account);
}
