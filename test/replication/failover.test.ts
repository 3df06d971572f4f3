import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { type Exchange, startTraffic } from '../../demo/traffic.ts';
import { type Arena, openArena } from '../history/arena.ts';
import { superuserOf } from '../history/roles.ts';
import { type Member, populate } from '../history/tenants.ts';
import { until } from '../support/until.ts';

jest.setTimeout(90_000);

/** The windows and limits of the defaults. */
const env = { READ_AFTER_WRITE_WINDOW_MS: '5000', MAX_REPLICA_LAG_MS: '2000' };
const ok = ({ status }: Exchange) => status === 200 || status === 201;

describe.each([1, 2])(
  'a primary killed under 200 reads and 50 writes a second, %s replica(s)',
  (replicas) => {
    let arena: Arena;
    let members: Member[];

    beforeEach(async () => {
      arena = await openArena({ replicas, processes: 1, env });
      members = await populate(arena, { writers: 2, readers: 10 });
      await arena.cluster.caughtUp();
      await arena.green();
    });
    afterEach(() => arena.stop());

    it('costs no read, and writes only until a replica is promoted', async () => {
      const { cluster } = arena;
      const reading = startTraffic({
        perS: 200,
        asked: (number) => ({
          ...turn(number, false),
          url: `${arena.processes[0]?.url}/v1/products?limit=5`,
        }),
      });
      const writing = startTraffic({
        perS: 50,
        asked: (number) => ({
          ...turn(number, true),
          url: `${arena.processes[0]?.url}/v1/products`,
          body: { sku: skuOf(number), name: 'x', priceCents: 1, stock: 1 },
        }),
      });
      try {
        await pause(2000);
        const killedMs = performance.now();
        await cluster.kill('primary');
        await pause(1000);
        const promotingMs = performance.now();
        await cluster.promote(0);
        const promotedMs = performance.now();
        if (replicas > 1) await cluster.follow(1);
        const accepted = () => writing.done.find((write) => ok(write) && write.endMs > promotingMs);
        await until(() => accepted() !== undefined, 'a write to be accepted');
        await pause(1000);
        // On its old timeline, and sure that it is the primary.
        await cluster.restart('primary');
        await pause(1500);
        await Promise.all([reading.stop(), writing.stop()]);

        const acceptedMs = accepted()?.endMs ?? Infinity;
        const failedWrites = writing.done.filter((write) => !ok(write));
        const failedReads = reading.done.filter((read) => !ok(read));
        process.stderr.write(
          `failover, ${replicas} replica(s): ${reading.done.length} reads, ${failedReads.length} failed; ` +
            `${writing.done.length} writes, ${failedWrites.length} failed; pg_promote took ` +
            `${(promotedMs - promotingMs).toFixed(0)} ms; first write accepted ${(acceptedMs - promotedMs).toFixed(0)} ms ` +
            `after its end\n`,
        );
        expect(reading.done.length).toBeGreaterThan(800);
        expect(kindsOf(failedReads)).toEqual([]);
        expect(kindsOf(failedWrites)).toEqual(['503, Retry-After 1']);
        expect(failedWrites.filter(({ endMs }) => endMs < killedMs)).toEqual([]);
        expect(failedWrites.filter(({ startMs }) => startMs > acceptedMs)).toEqual([]);
        // Negative when the service has noticed before we were told.
        expect(acceptedMs - promotedMs).toBeLessThan(1000);

        const held = await skus('primary');
        const late = writing.done
          .filter((write) => ok(write) && write.startMs > promotingMs)
          .map(({ number }) => skuOf(number));
        expect(late.length).toBeGreaterThan(20);
        expect(late.filter((sku) => held.has(sku))).toEqual([]);
        const kept = await skus(0);
        expect(late.filter((sku) => !kept.has(sku))).toEqual([]);
      } finally {
        await Promise.all([reading.stop(), writing.stop()]);
      }
    });

    /** Readers and writers are different actors. */
    function turn(number: number, writes: boolean): { authorization: string } {
      const able = members.filter(({ own }) => (own !== undefined) === writes);
      return able[number % able.length] ?? { authorization: '' };
    }

    async function skus(node: 'primary' | 0): Promise<Set<string>> {
      const rows = await superuserOf<{ sku: string }>(
        arena,
        node,
        'select sku from shared.products union select sku from tenant_history_schema.products',
      );
      return new Set(rows.map(({ sku }) => sku));
    }
  },
);

const skuOf = (number: number): string => `F-${number}`;

function kindsOf(exchanges: readonly Exchange[]): string[] {
  return [...new Set(exchanges.map(({ status, retryAfter }) => `${status}, Retry-After ${retryAfter}`))];
}
