import { beforeAll, describe, expect, it } from '@jest/globals';
import { findResult, type Once } from '../../src/db/index.ts';
import { doneOnce } from '../../src/db/once.ts';
import { products } from '../../src/features/products/repository.ts';
import { withoutPolicies } from '../support/connection.ts';
import { useDatabase } from '../support/database.ts';
import { useHoldings } from '../support/holdings.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { plantStrays } from '../support/stray.ts';
import { useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);
const { heldBy } = useHoldings(service);
const db = () => service.tenantry.data.db;
const slugs = ['ash', 'birch', 'cedar', 'dogwood'];

/** In plain, so that it shows whose result was found. */
function onceOf(request: string): Once & { times: number } {
  const once = {
    request,
    times: 0,
    seal: (result: unknown) => ({ digest: 'd', bytes: Buffer.from(JSON.stringify(result)) }),
    open: ({ bytes }: { bytes: Buffer }) => JSON.parse(bytes.toString()) as unknown,
    replayed() {
      once.times += 1;
    },
  };
  return once;
}

const make = (slug: string, once: Once) =>
  db().writeOne({ ...heldBy(slug).tenant.scope, once }, (session) =>
    products.insert(session, {
      ...{ sku: `${slug} ${once.request}`, name: slug, description: null, priceCents: 1 },
      ...{ currency: 'USD', stock: 1 },
    }),
  );

beforeAll(async () => {
  for (const slug of slugs) await make(slug, onceOf('the same'));
  await plantStrays(database);
});

describe.each(['ash', 'cedar'])('what is kept of the requests of the tenant %s', (slug) => {
  const tenant = () => heldBy(slug).tenant;

  it('is its own, though others have sent the same', async () => {
    const others = await othersRows(database, tenant().id);
    const once = onceOf('the same');
    expect(await make(slug, once)).toMatchObject({ sku: `${slug} the same` });
    expect(once.times).toBe(1);
    await make(slug, onceOf(`new of ${slug}`));
    expectSameRows(await othersRows(database, tenant().id), others);
  });

  it('is not found by anybody else', async () => {
    await make(slug, onceOf(`only of ${slug}`));
    for (const reader of slugs) {
      const { scope } = heldBy(reader).tenant;
      const find = (session: Parameters<typeof findResult>[0]) => findResult(session, `only of ${slug}`);
      const expected = reader === slug ? { digest: 'd' } : undefined;
      const answers = [await db().read({ ...scope, consistency: { level: { kind: 'strong' } } }, find)];
      answers.push(await withoutPolicies(database, scope.tenant, find));
      for (const answer of answers) {
        if (expected === undefined) expect(answer).toBeUndefined();
        else expect(answer).toMatchObject(expected);
      }
    }
  });

  it('gives no room of others to what comes', async () => {
    await database.superuser(
      `update ${tenant().scope.tenant.schema}.idempotency_keys set created_at = now() - interval '25 hours'
       where tenant_id <> $1`,
      [tenant().id],
    );
    const others = await othersRows(database, tenant().id);
    await make(slug, onceOf(`room of ${slug}`));
    const unit = doneOnce(onceOf(`no policy for ${slug}`), () => Promise.resolve(slug));
    expect(await withoutPolicies(database, tenant().scope.tenant, unit)).toBe(slug);
    expectSameRows(await othersRows(database, tenant().id), others);
  });
});

it('one claim is for one unit of work', async () => {
  const once = onceOf('twice');
  await make('ash', once);
  await expect(make('ash', once)).rejects.toThrow('one unit of work');
});
