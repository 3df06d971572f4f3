import { createRequire } from 'node:module';
import type * as Redis from '@redis/client';
import type { Position } from './position.ts';
import type { SharedMemory } from './shared-sightings.ts';

/** Redis (or Valkey) as the memory that processes share: a key or two per actor that has written, gone by themselves. */
export interface RedisMemory extends SharedMemory {
  /** Connects, and goes on trying by itself. Resolves when Redis answers or 1 s has passed. */
  start(): Promise<void>;
  stop(): void;
}

/** A connection that is made again by itself whenever it is lost. */
export interface RedisConnection {
  readonly client: ReturnType<typeof makeClient>;
  /** Connects, and goes on trying by itself. Resolves when Redis answers or 1 s has passed. */
  start(): Promise<void>;
  stop(): void;
}

export interface RedisMemoryOptions {
  url: string;
  windowMs: number;
  /** Put before all keys. Default `tenantry`. */
  prefix?: string;
}

const connectMs = 1000;
/** Positions are kept for longer than the window: it stands still while the primary is lost, and this much is allowed for. */
const lossMs = 300_000;
/** Commands without an answer at most; beyond it, calls are refused. */
const maxCommands = 10_000;

/** Positions are kept as text whose order is theirs. */
const keepFurthest = `
  local known = redis.call('get', KEYS[1])
  if not known or known < ARGV[1] then known = ARGV[1] end
  redis.call('set', KEYS[1], known, 'px', ARGV[2])`;

const takeOver = `
  if redis.call('get', KEYS[1]) ~= ARGV[1] then
    redis.call('set', KEYS[2], '1', 'px', ARGV[2])
    redis.call('set', KEYS[1], ARGV[1])
  end`;

/** Loaded where it is used: it takes a tenth of a second, and most commands and many installations have no Redis. */
const load = createRequire(import.meta.url);

/** Commands fail at once while there is no connection. */
function makeClient(url: string, name: string) {
  const { createClient } = load('@redis/client') as typeof Redis;
  const client = createClient({
    url,
    name,
    disableOfflineQueue: true,
    commandsQueueMaxLength: maxCommands,
    maintNotifications: 'disabled',
    socket: { connectTimeout: connectMs, reconnectStrategy: (tries) => Math.min(25 * 2 ** tries, 500) },
  });
  // Every call reports its own failure; without a listener the client would end the process.
  client.on('error', () => undefined);
  return client;
}

export function createRedisConnection(url: string, name = 'tenantry'): RedisConnection {
  const client = makeClient(url, name);
  return {
    client,
    async start() {
      const connected = client.connect().catch(() => undefined);
      const patience = new Promise((resolve) => setTimeout(resolve, connectMs).unref());
      await Promise.race([connected, patience]);
    },
    stop() {
      if (client.isOpen) client.destroy();
    },
  };
}

/**
 * A Redis that was restarted, or whose replica has taken over, may have forgotten writes. It is told by its run id, which
 * is kept beside the writes: where the two differ, nothing is known for one window.
 */
export function createRedisMemory({ url, windowMs, prefix = 'tenantry' }: RedisMemoryOptions): RedisMemory {
  const { client, start, stop } = createRedisConnection(url);
  const windowText = String(windowMs);
  const lifeMs = windowMs + lossMs;
  const runKey = `${prefix}:run`;
  const newKey = `${prefix}:new`;
  /** Of the Redis at the other end of the connection; undefined until it has been asked. */
  let runId: string | undefined;

  const forget = () => {
    runId = undefined;
  };
  client.on('error', forget);
  client.on('reconnecting', forget);
  client.on('ready', () => {
    forget();
    void learnRunId().catch(forget);
  });

  async function learnRunId(): Promise<void> {
    const text = await client.sendCommand<string>(['INFO', 'server']);
    const found = /^run_id:(\w+)/m.exec(text)?.[1];
    if (found === undefined) throw new Error('Redis does not tell its run id');
    await client.eval(takeOver, { keys: [runKey, newKey], arguments: [found, windowText] });
    runId = found;
  }

  return {
    async find(key) {
      const run = runId;
      if (run === undefined) throw new Error('Redis is not connected');
      const wroteKey = `${prefix}:wrote:${key}`;
      const [[keptBy, isNew, blind, position], leftMs] = await Promise.all([
        client.mGet([runKey, newKey, `${prefix}:blind:${key}`, wroteKey]),
        client.pTTL(wroteKey),
      ]);
      if (keptBy !== run) await learnRunId(); // somebody has flushed it
      if (keptBy !== run || isNew !== null || blind !== null) return { position: undefined, ageMs: 0 };
      if (typeof position !== 'string') return undefined;
      // By the clock of Redis alone: those of the processes may differ.
      return { position: parsePosition(position), ageMs: lifeMs - leftMs };
    },
    async put(key, position) {
      if (position === undefined) {
        await client.set(`${prefix}:blind:${key}`, '1', { PX: windowMs });
        return;
      }
      await client.eval(keepFurthest, {
        keys: [`${prefix}:wrote:${key}`],
        arguments: [positionText(position), String(lifeMs)],
      });
    },
    start,
    stop,
  };
}

/** Of one length, so that the order of the text is the order of the positions. */
function positionText({ timeline, lsn }: Position): string {
  return `${timeline.toString(16).padStart(8, '0')}:${lsn.toString(16).padStart(16, '0')}`;
}

function parsePosition(text: string): Position {
  const [timeline = '', lsn = ''] = text.split(':');
  return { timeline: Number.parseInt(timeline, 16), lsn: BigInt(`0x${lsn}`) };
}
