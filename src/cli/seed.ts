import { Command } from 'commander';
import { demoOwner, demoPassword, demoTenants } from '../../seeds/control/demo.ts';
import { demoMember, demoOrderCount, demoOrderLines, demoProducts } from '../../seeds/tenant/demo.ts';
import { buildControlPlane, buildDataPlane, type ControlPlane, type DataPlane } from '../build.ts';
import type { TenantScope } from '../db/index.ts';
import { commandKernel } from './control.ts';
import { type Io, printJson } from './io.ts';

export function seedCommand(io: Io): Command {
  return new Command('seed')
    .description('Put the demo in: two tenants, products and orders. What is there already stays as it is.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const kernel = await commandKernel(io, 'seed');
      const data = buildDataPlane(kernel);
      const control = buildControlPlane(kernel, data.directory);
      try {
        await data.start();
        await seedDemo(control, data);
        const seeded = demoTenants.map((tenant) => tenant.slug);
        if (json) printJson(io, { seeded });
        else io.out(`seeded ${seeded.join(', ')}`);
      } finally {
        await control.stop();
        await data.stop();
      }
    });
}

/** Goes through the services, like any client; a run that was cut short is completed by the next. */
export async function seedDemo(control: ControlPlane, data: DataPlane): Promise<void> {
  for (const tenant of demoTenants) {
    if ((await control.tenants.find(tenant.slug)) === undefined) {
      await control.tenants.create({ ...tenant, owner: demoOwner(tenant.slug), limits: {} });
    }
    await seedTenant(data, tenant.slug);
  }
}

async function seedTenant(data: DataPlane, slug: string): Promise<void> {
  const entry = await data.directory.find(slug);
  if (entry === undefined) throw new Error(`The tenant ${slug} is not in the directory`);
  const scope: TenantScope = {
    tenant: entry.tenant,
    actor: { kind: 'platform', id: 'seed', role: 'owner' },
    consistency: { level: { kind: 'strong' } },
  };
  const { products, orders, users } = data;
  if ((await products.count(scope)) === 0) await products.createMany(scope, demoProducts(slug));
  const email = demoMember.emailOf(slug);
  if ((await users.count(scope, { email })) === 0) {
    await users.create(scope, { email, name: demoMember.name, role: 'member', password: demoPassword });
  }
  const page = { limit: 100, include: [], counted: false } as const;
  const { rows } = await products.list(scope, { ...page, sort: { field: 'sku', direction: 'asc' } });
  for (let n = await orders.count(scope); n < demoOrderCount; n += 1) {
    const lines = demoOrderLines(n, rows.length).map(({ product, quantity }) => ({
      productId: rows[product]?.id ?? '',
      quantity,
    }));
    await orders.create(scope, { customerId: null, lines });
  }
}
