import { setTimeout as pause } from 'node:timers/promises';
import { type Credentials, logIn } from './login.ts';
import { createScoreboard, type NodeRow, type Scoreboard } from './scoreboard.ts';
import { openStage, type Stage } from './stage.ts';
import { type Asked, startTraffic } from './traffic.ts';

/**
 * `npm run demo:failover`: the primary dies under load and a replica takes its place, with a line per second. Takes half
 * a minute; Ctrl-C ends it at any time and leaves nothing running.
 */
const readsPerS = 200;
const writesPerS = 50;

const over = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => over.abort());
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const stage = await openStage(print);
try {
  if (!over.signal.aborted) await perform(stage, await logIn(stage));
} finally {
  await stage.close();
}

async function perform(stage: Stage, { readers, writers, operator }: Credentials): Promise<void> {
  const reads = startTraffic({
    perS: readsPerS,
    asked: (number) => ({
      ...turn(number, readers),
      url: `${turnOf(number, stage.urls)}/v1/products?limit=5`,
    }),
  });
  const writes = startTraffic({
    perS: writesPerS,
    asked: (number) => ({
      ...turn(number, writers),
      url: `${turnOf(number, stage.urls)}/v1/products`,
      body: { sku: `demo-${number}`, name: 'Made while servers die', priceCents: 100, stock: 1 },
    }),
  });
  print(`\n${readsPerS} reads and ${writesPerS} writes a second, over two processes. Ctrl-C ends it.\n`);
  const board = createScoreboard({ reads, writes, print });
  const telling = tell(board, stage, operator);
  try {
    await story(stage, board);
  } catch (error) {
    if (!over.signal.aborted) throw error;
  } finally {
    over.abort();
    await telling;
    await Promise.all([reads.stop(), writes.stop()]);
  }
  print(`\n${board.total()}`);
}

async function story({ cluster }: Stage, { event }: Scoreboard): Promise<void> {
  await rest(4000);
  event('the primary is killed');
  await cluster.kill('primary');
  await rest(3000);
  event('replica-1 is promoted');
  await cluster.promote(0);
  event('it takes writes; replica-2 is told to follow it');
  await cluster.follow(1);
  await rest(4000);
  event('the old primary comes back on its old timeline, and takes itself for the primary');
  await cluster.restart('primary');
  await rest(4000);
  event('it is made a replica of the new primary');
  await cluster.rebuild('primary');
  await rest(4000);
  event('replica-2 is killed');
  await cluster.kill(1);
  await rest(3000);
  event('and comes back');
  await cluster.restart(1);
  await rest(3000);
}

async function tell(board: Scoreboard, { adminUrls: [adminUrl] }: Stage, operator: string): Promise<void> {
  while (!over.signal.aborted) {
    await rest(1000).catch(() => undefined);
    const answer = await fetch(`${adminUrl}/admin/v1/cluster`, { headers: { Authorization: operator } });
    board.line(((await answer.json()) as { nodes: NodeRow[] }).nodes);
  }
}

/** @throws when the demo is to end */
function rest(ms: number): Promise<void> {
  return pause(ms, undefined, { signal: over.signal });
}

function turnOf<T>(number: number, all: readonly T[]): T {
  const chosen = all[number % all.length];
  if (chosen === undefined) throw new Error('There is nobody whose turn it could be');
  return chosen;
}

/** The next of the actors, who change more slowly than the processes: each asks both. */
function turn(number: number, authorizations: readonly string[]): Pick<Asked, 'authorization'> {
  return { authorization: turnOf(Math.floor(number / stage.urls.length), authorizations) };
}
