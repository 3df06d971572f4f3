import { describe, expect, it } from '@jest/globals';
import { planFleet } from '../../src/control/migrations/plan.ts';
import { statusOf } from '../../src/control/migrations/report.ts';
import { schemaName } from '../../src/db/index.ts';

const steps = { control: ['0001_a'], tenant: ['0001_x', '0002_y'] };
const fleet = {
  schemas: ['control', 'shared', 'tenant_aa', 'tenant_bb'].map(schemaName),
  applied: new Map([
    ['control', ['0001_a']],
    ['shared', ['0001_x', '0002_y']],
    ['tenant_aa', ['0001_x']],
    ['tenant_bb', ['0001_x', '0002_y', '0003_z']],
  ]),
};

describe('the plan of a fleet', () => {
  it('gives each schema what it lacks, in order, and knows who is ahead', () => {
    expect(planFleet(fleet, steps)).toEqual([
      { schema: 'control', ladder: 'control', version: '0001_a', pending: [], unknown: [] },
      { schema: 'shared', ladder: 'tenant', version: '0002_y', pending: [], unknown: [] },
      { schema: 'tenant_aa', ladder: 'tenant', version: '0001_x', pending: ['0002_y'], unknown: [] },
      { schema: 'tenant_bb', ladder: 'tenant', version: '0003_z', pending: [], unknown: ['0003_z'] },
    ]);
  });

  it('gives a new installation everything', () => {
    const empty = { schemas: [schemaName('control'), schemaName('shared')], applied: new Map() };
    expect(planFleet(empty, steps).map(({ pending }) => pending)).toEqual([['0001_a'], ['0001_x', '0002_y']]);
  });

  it('is told by version, then by outlier', () => {
    const status = statusOf(planFleet(fleet, steps));
    expect(status.versions).toContainEqual({ ladder: 'tenant', version: '0002_y', schemas: 1 });
    expect(status.outliers.map(({ schema }) => schema)).toEqual(['tenant_aa', 'tenant_bb']);
    expect(status).toMatchObject({ schemas: 4, pending: 1 });
  });
});
