import { setTimeout as pause } from 'node:timers/promises';
import type { Node } from '../../cluster/cluster.ts';
import { type Arena, serverNodes, windowMs } from './arena.ts';
import type { Random } from './random.ts';
import { type Roles, superuserOf, synchronous } from './roles.ts';

/**
 * What is done to the servers while clients work. Every fault is taken back before it ends. A commit waits for one of
 * the two replicas, so the two are never both without a connection to their primary for long.
 */
export interface Fault {
  name: string;
  /** How often it is chosen, as against the others. */
  weight: number;
  run(scene: Scene): Promise<void>;
}

export interface Scene {
  arena: Arena;
  roles: Roles;
  random: Random;
}

type ReplicaFault = (scene: Scene, replica: Node, lastsMs: number) => Promise<void>;

const onReplica = {
  pause: ({ arena }, replica, lastsMs) => arena.cluster.pauseReplay(replica, () => pause(lastsMs)),
  delay: ({ arena, random }, replica, lastsMs) =>
    arena.cluster.delayApply(replica, random.between(50, windowMs), () => pause(lastsMs)),
  'cut off': ({ arena }, replica, lastsMs) => arena.cluster.cutOff(replica, () => pause(lastsMs)),
  async kill({ arena }, replica, lastsMs) {
    await arena.cluster.kill(replica);
    await pause(lastsMs);
    await arena.cluster.restart(replica);
  },
  async freeze({ arena }, replica, lastsMs) {
    await arena.cluster.freeze(replica);
    await pause(lastsMs);
    await arena.cluster.thaw(replica);
  },
} satisfies Record<string, ReplicaFault>;

/** Those that leave a replica able to acknowledge commits, and so may meet any other on the other replica. */
const mild = ['pause', 'delay', 'freeze'] as const;

async function killPrimary({ arena, roles }: Scene, lastsMs: number): Promise<void> {
  await arena.cluster.kill(roles.primary);
  await pause(lastsMs);
  await arena.cluster.restart(roles.primary);
}

async function freezePrimary({ arena, roles }: Scene, lastsMs: number): Promise<void> {
  await arena.cluster.freeze(roles.primary);
  await pause(lastsMs);
  await arena.cluster.thaw(roles.primary);
}

/** The primary dies for good; the replica that has received most takes its place, and the other one follows it. */
async function promote({ arena, roles, random }: Scene, { returns }: { returns: boolean }): Promise<void> {
  const { cluster } = arena;
  const old = roles.primary;
  await cluster.kill(old);
  await pause(random.between(0, 1500));
  const next = await furthest(arena, roles.replicas());
  await cluster.promote(next);
  roles.primary = next;
  for (const other of roles.replicas().filter((node) => node !== old)) {
    await pause(random.between(0, 500));
    await cluster.follow(other).catch(() => cluster.rebuild(other));
  }
  if (returns) {
    // On the old timeline, and sure that it is the primary.
    await cluster.restart(old);
    await pause(random.between(200, 2000));
  } else await pause(random.between(0, 2000));
  await cluster.rebuild(old);
  for (const node of serverNodes) await synchronous(arena, node);
}

/** As any manager of failovers does: what one replica has acknowledged must not be lost with the others. */
async function furthest(arena: Arena, replicas: readonly Node[]): Promise<Node> {
  const received = await Promise.all(
    replicas.map(async (node) => {
      const [row] = await superuserOf<{ bytes: string }>(
        arena,
        node,
        `select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0' as bytes`,
      );
      return { node, bytes: BigInt(row?.bytes ?? 0) };
    }),
  );
  const [first, ...others] = received;
  if (first === undefined) throw new Error('There is no replica');
  return others.reduce((best, each) => (each.bytes > best.bytes ? each : best), first).node;
}

const briefly = ({ random }: Scene) => random.between(100, 1500);
/** Often longer than the window. */
const long = ({ random }: Scene) => random.between(windowMs / 2, windowMs * 3);

function replicaFaults(): Fault[] {
  return Object.entries(onReplica).map(([name, cause]: [string, ReplicaFault]) => ({
    name: `${name} a replica`,
    weight: 3,
    run: (scene) => cause(scene, scene.random.pick(scene.roles.replicas()), long(scene)),
  }));
}

/** One on each replica; one of the two is mild. */
async function both(scene: Scene): Promise<void> {
  const { random, roles } = scene;
  const [first, second] = random.percent(50) ? roles.replicas() : roles.replicas().toReversed();
  if (first === undefined || second === undefined) throw new Error('There are not two replicas');
  await Promise.all([
    onReplica[random.pick(mild)](scene, first, long(scene)),
    onReplica[random.pick(Object.keys(onReplica) as (keyof typeof onReplica)[])](scene, second, long(scene)),
  ]);
}

/** While a replica is held back, the primary dies and comes back. */
async function heldBackAndPrimary(scene: Scene): Promise<void> {
  const { random, roles } = scene;
  const replica = random.pick(roles.replicas());
  const fault = random.pick(['pause', 'delay', 'cut off'] as const);
  await Promise.all([
    onReplica[fault](scene, replica, long(scene)),
    pause(random.between(50, 1000)).then(() => killPrimary(scene, long(scene))),
  ]);
}

export const faults: readonly Fault[] = [
  ...replicaFaults(),
  { name: 'both replicas', weight: 5, run: both },
  { name: 'kill the primary', weight: 3, run: (scene) => killPrimary(scene, briefly(scene)) },
  { name: 'kill the primary for long', weight: 2, run: (scene) => killPrimary(scene, long(scene)) },
  { name: 'freeze the primary', weight: 2, run: (scene) => freezePrimary(scene, long(scene)) },
  { name: 'hold back a replica and kill the primary', weight: 5, run: heldBackAndPrimary },
  { name: 'promote', weight: 4, run: (scene) => promote(scene, { returns: false }) },
  {
    name: 'promote, and the old primary returns',
    weight: 2,
    run: (scene) => promote(scene, { returns: true }),
  },
];

export function chooseFault(random: Random): Fault {
  return random.pick(faults.flatMap((fault) => Array.from({ length: fault.weight }, () => fault)));
}
