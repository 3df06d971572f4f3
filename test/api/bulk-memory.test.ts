import { Readable } from 'node:stream';
import type { Request } from 'express';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { judgedLines } from '../../src/http/bulk-input.ts';
import { product } from '../../src/features/products/schema.ts';
import { useDatabase } from '../support/database.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { useUploads } from '../support/upload.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { DATABASE_REPLICA_URLS: '' } });
const uploads = useUploads(() => service.tenantry.tenantApp);

const count = 120_000;
const perPiece = 1000;
/** Of the body, some 180 MB. What the process has at once is a batch or two, and garbage. */
const most = 120 * 2 ** 20;
const patience = 240_000;

const description = 'x'.repeat(1300);
const pieceOf = (first: number) =>
  Array.from(
    { length: perPiece },
    (_, n) =>
      `${JSON.stringify({ sku: `memory-${first + n}`, name: 'x', description, priceCents: n, stock: n })}\n`,
  ).join('');

/** The most that is held while `fn` runs beyond what was held before, after what is garbage has been collected now and then. */
async function growthOf(fn: (look: () => void) => Promise<void>): Promise<number> {
  const held = () => {
    globalThis.gc?.();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = held();
  let highest = before;
  await fn(() => {
    highest = Math.max(highest, held());
  });
  return highest - before;
}

describe('memory', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    globalThis.gc = runInNewContext('gc') as NodeJS.GCFunction;
    tenant = await service.onboard('memory', 'shared');
  });

  it(
    'does not grow with a stream of 120,000 rows in, nor with all of them out',
    async () => {
      const written = await growthOf(async (look) => {
        const upload = uploads.start(tenant.token, '/v1/products/bulk');
        for (let first = 0; first < count; first += perPiece) {
          await upload.send(pieceOf(first));
          if (first % 12_000 === 0) look();
        }
        expect(await upload.end()).toMatchObject({ status: 201, body: { created: count } });
      });
      expect(written).toBeLessThan(most);
      const read = await growthOf(async (look) => {
        const answer = await fetch(`http://127.0.0.1:${uploads.port()}/v1/products?format=ndjson`, {
          headers: { Authorization: `Bearer ${tenant.token}` },
        });
        let lines = 0;
        let chunks = 0;
        for await (const chunk of answer.body ?? []) {
          for (const byte of chunk) if (byte === 10) lines += 1;
          if ((chunks += 1) % 500 === 0) look();
        }
        expect(lines).toBe(count);
      });
      expect(read).toBeLessThan(most);
    },
    patience,
  );

  it(
    'would have grown beyond that if the rows had been kept',
    async () => {
      const kept: unknown[] = [];
      const growth = await growthOf(async (look) => {
        const pieces = function* () {
          for (let first = 0; first < count; first += perPiece) yield Buffer.from(pieceOf(first));
        };
        const req = Object.assign(Readable.from(pieces()), { headers: {}, complete: true });
        for await (const { rows } of judgedLines(req as unknown as Request, product.create)) {
          kept.push(...rows);
        }
        look();
      });
      expect(kept).toHaveLength(count);
      expect(growth).toBeGreaterThan(most);
    },
    patience,
  );
});
