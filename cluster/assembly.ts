/** Brings the servers of a cluster up: primary, replicas, and whatever has to be made or mended before they run. */
import { join } from 'node:path';
import { configure, copyAsReplica, isReplica, type Workshop } from './data-directory.ts';
import { PRIMARY, replicaName } from './home.ts';
import { findFreePort, isFree } from './port.ts';
import { prepareSlots, slotOf, waitUntilStreaming } from './replication.ts';
import { createServer, type Server, StartError } from './server.ts';
import type { ClusterState } from './state.ts';

export interface Plan {
  dataRoot: string;
  logDir: string;
  state: ClusterState;
  replicas: number;
  durable: boolean;
  workshop: Workshop;
  progress: (message: string) => void;
}

export interface Assembly {
  primary: Server;
  replicas: Server[];
}

const PORT_ATTEMPTS = 10;

/** The servers of the plan, none started. */
export function assemble({ dataRoot, logDir, state, replicas, workshop }: Plan): Assembly {
  const create = (name: string): Server =>
    createServer(
      {
        name,
        dataDir: join(dataRoot, name),
        logFile: join(logDir, `${name}.log`),
        password: state.superuserPassword,
      },
      workshop,
    );
  const names = Array.from({ length: replicas }, (_, replica) => replicaName(replica));
  return { primary: create(PRIMARY), replicas: names.map(create) };
}

/**
 * Starts all servers; resolves when every replica streams. A replica that is missing or cannot follow any more (it was
 * promoted, its part of the log is gone) is made from the primary, which is stopped for that: nobody uses it yet.
 * @param neverStarted whether the primary's directory is fresh from initdb, so may be copied as it is
 */
export async function bringUp(
  { primary, replicas }: Assembly,
  plan: Plan,
  neverStarted: boolean,
): Promise<void> {
  let toCopy = replicas.flatMap((server, replica) => (isReplica(server.dataDir) ? [] : [replica]));
  if (toCopy.length > 0 && !neverStarted) {
    // It may have been killed: only a clean shutdown leaves files that can be copied.
    await startPrimary(primary, plan);
    await primary.stop();
  }
  for (let mended = false; ; mended = true) {
    await Promise.all(
      toCopy.map((n) => copyAsReplica(primary.dataDir, dirOf(replicas, n), plan.workshop.account)),
    );
    await startPrimary(primary, plan);
    const madeSlots = await prepareSlots(primary, replicas.length, plan.state.replicatorPassword);
    const lost = madeSlots.filter((replica) => !toCopy.includes(replica));
    const failures = await startReplicas(primary, replicas, lost, plan);
    if (failures.size === 0) return;
    if (mended) throw [...failures.values()][0];
    toCopy = [...failures.keys()];
    plan.progress(`Rebuilding ${toCopy.map(replicaName).join(', ')} from the primary`);
    await Promise.all(replicas.map((replica) => replica.stop()));
    await primary.stop();
  }
}

async function startPrimary(primary: Server, { state, durable, replicas, workshop }: Plan): Promise<void> {
  state.primaryPort = await startOnFreePort(primary, state.primaryPort, new Set(state.replicaPorts), (port) =>
    configure(primary.dataDir, { port, durable, replicas }, undefined, workshop.account),
  );
}

/** Starts all but the `lost` ones. @returns why, for each replica that does not stream. */
async function startReplicas(
  primary: Server,
  replicas: readonly Server[],
  lost: readonly number[],
  { state, durable, workshop }: Plan,
): Promise<Map<number, unknown>> {
  const failures = new Map<number, unknown>(
    lost.map((n) => [n, new Error(`The primary has no log for replica ${n}`)]),
  );
  const taken = new Set([primary.port, ...state.replicaPorts]);
  const startOne = async (server: Server, replica: number): Promise<void> => {
    const following = {
      primaryPort: primary.port,
      password: state.replicatorPassword,
      slot: slotOf(replica),
    };
    state.replicaPorts[replica] = await startOnFreePort(server, state.replicaPorts[replica], taken, (port) =>
      configure(server.dataDir, { port, durable, replicas: replicas.length }, following, workshop.account),
    );
    await waitUntilStreaming(primary, slotOf(replica));
  };
  await Promise.all(
    replicas.map(async (server, replica) => {
      if (!lost.includes(replica))
        await startOne(server, replica).catch((error) => failures.set(replica, error));
    }),
  );
  return failures;
}

/**
 * Starts a server on its old port if that is still free, else on another. Between the look and the start somebody may
 * take the port, so a server that could not bind gets the next one.
 */
async function startOnFreePort(
  server: Server,
  oldPort: number | undefined,
  taken: Set<number>,
  configureFor: (port: number) => Promise<void>,
): Promise<number> {
  let port = oldPort !== undefined && (await isFree(oldPort)) ? oldPort : undefined;
  for (let attempt = 1; ; attempt++) {
    port ??= await findFreePort(taken);
    taken.add(port);
    await configureFor(port);
    try {
      await server.start(port);
      return port;
    } catch (error) {
      if (!(error instanceof StartError) || !error.portTaken || attempt === PORT_ATTEMPTS) throw error;
      port = undefined;
    }
  }
}

function dirOf(replicas: readonly Server[], replica: number): string {
  const server = replicas[replica];
  if (server === undefined) throw new Error(`There is no replica ${replica}`);
  return server.dataDir;
}
