import { expect, it } from '@jest/globals';
import {
  type Database,
  type ReadSession,
  schemaName,
  tenantId,
  type TenantScope,
} from '../../src/db/index.ts';
import { createRowLimit } from '../../src/db/row-limit.ts';
import { createTestClock } from '../support/clock.ts';

const scope: TenantScope = {
  tenant: {
    id: tenantId('00000000-0000-7000-8000-000000000001'),
    slug: 'limited',
    isolation: 'shared',
    schema: schemaName('shared'),
    limits: { rows: 10 },
  },
  actor: { kind: 'user', id: 'u', role: 'owner' },
  consistency: { level: { kind: 'strong' } },
};

it('what an open transaction has written counts, though no count of another finds it', async () => {
  const clock = createTestClock();
  let counts = 0;
  const session = {
    query: async () => {
      counts += 1;
      return [{ n: 0 }];
    },
  } as unknown as ReadSession;
  const read = ((_scope: TenantScope, fn: (session: ReadSession) => Promise<unknown>) =>
    fn(session)) as Database['read'];
  const limit = createRowLimit({ db: { read }, clock, tables: ['products'] });

  await limit.require(scope, 5);
  clock.advance(61_000);
  await limit.require(scope, 5, 5);
  clock.advance(61_000);
  await expect(limit.require(scope, 1, 10)).rejects.toMatchObject({ code: 'limit_reached' });
  expect(counts).toBe(3);
  // Had it been rolled back, there would be room again.
  clock.advance(61_000);
  await limit.require(scope, 10);
});
