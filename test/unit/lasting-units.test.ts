import { expect, it } from '@jest/globals';
import { createLastingUnits } from '../../src/db/lasting-units.ts';
import { schemaName, tenantId, type TenantScope } from '../../src/db/index.ts';

const scopeOf = (n: number): TenantScope => ({
  tenant: {
    id: tenantId(`00000000-0000-7000-8000-${String(n).padStart(12, '0')}`),
    slug: `t${n}`,
    isolation: 'shared',
    schema: schemaName('shared'),
  },
  actor: { kind: 'user', id: 'u', role: 'owner' },
  consistency: { level: { kind: 'strong' } },
});

it('a quarter of the connections, and one for each tenant, may be kept by units that last', async () => {
  const units = createLastingUnits(8);
  const ends: (() => void)[] = [];
  const last = (n: number) =>
    units.within(scopeOf(n), { lasting: true }, () => new Promise<void>((resolve) => ends.push(resolve)));
  const refused = { code: 'unavailable' };

  const first = last(1);
  await expect(last(1)).rejects.toMatchObject(refused);
  const second = last(2);
  await expect(last(3)).rejects.toMatchObject(refused);
  expect(await units.within(scopeOf(3), {}, async () => 'what does not last needs no place')).toBeDefined();
  ends[0]?.();
  await first;
  const third = last(3);
  for (const end of ends) end();
  await Promise.all([second, third]);

  // Nor does one that fails keep its place.
  const failing = units.within(scopeOf(4), { lasting: true }, () => Promise.reject(new Error('cut off')));
  await expect(failing).rejects.toThrow('cut off');
  await units.within(scopeOf(4), { lasting: true }, async () => undefined);
});
