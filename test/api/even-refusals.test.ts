import { beforeAll, expect, it } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import { apiKeyOf, newKeySecret, parseApiKey } from '../../src/auth/api-keys.ts';
import { systemClock } from '../../src/clock.ts';
import { type Database, nobody, type ReadSession, type Tenant } from '../../src/db/index.ts';
import { createKeyHolders } from '../../src/features/api-keys/holders.ts';
import { useDatabase } from '../support/database.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';

/** A refusal must not tell by its work why it was refused: whoever can measure could ask who the customers are. */
const database = useDatabase();
const service = useTenantry(database);

let tenant: TestTenant;
let keyId: string;
beforeAll(async () => {
  tenant = await service.onboard('even', 'schema');
  const { body } = await tenant.client
    .post('/v1/api-keys')
    .send({ name: 'x', scopes: ['read'] })
    .expect(201);
  keyId = (body as { id: string }).id;
});

/** Units of work by kind, since the process has started. */
async function units(): Promise<Record<string, number>> {
  const { text } = await service.admin().get('/metrics').expect(200);
  const counts = [...text.matchAll(/^tenantry_unit_seconds_count\{kind="([\w-]+)"\} (\d+)$/gm)];
  return Object.fromEntries(counts.map(([, kind = '', n]) => [kind, Number(n)]));
}

async function workOf(call: () => Promise<{ status: number }>): Promise<Record<string, number>> {
  const before = await units();
  expect((await call()).status).toBe(401);
  const after = await units();
  return Object.fromEntries(Object.entries(after).map(([kind, n]) => [kind, n - (before[kind] ?? 0)]));
}

it('a login costs the same for a wrong password, an unknown user and an unknown tenant', async () => {
  const login = (name: string, email: string) => () =>
    service
      .api()
      .post('/v1/auth/login')
      .set('X-Tenant-ID', name)
      .send({ email, password: 'not the password' });
  const wrong = await workOf(login(tenant.slug, tenant.ownerEmail));
  expect(wrong).toMatchObject({ read: 1, 'write-one': 1 });
  expect(await workOf(login(tenant.slug, 'nobody@nowhere.test'))).toEqual(wrong);
  expect(await workOf(login('no-such-tenant', tenant.ownerEmail))).toEqual(wrong);
});

it('a key costs the same statements for a wrong secret, an unknown key and an unknown tenant', async () => {
  const { db } = service.tenantry.data;
  let statements: string[] = [];
  const counted: Database = {
    ...db,
    read: (scope, fn) =>
      db.read(scope, (session) => {
        const query: ReadSession['query'] = (text, ...more) => {
          statements.push(text);
          return session.query(text, ...more);
        };
        return fn({ ...session, query });
      }),
  };
  const holders = createKeyHolders({ db: counted, clock: systemClock, onTouchFailed: () => undefined });
  const find = async (of: Tenant, key: string) => {
    statements = [];
    const { secretHash } = parseApiKey(apiKeyOf(of.id, key, newKeySecret().secret)) ?? { secretHash: '' };
    expect(await holders.find(of, { tenantId: of.id, keyId: key, secretHash })).toBeUndefined();
    return statements;
  };
  const own = tenant.scope.tenant;
  const wrong = await find(own, keyId);
  expect(wrong).toHaveLength(2);
  expect(await find(own, uuidv7())).toEqual(wrong);
  expect(await find(nobody, keyId)).toEqual(wrong);
  // The holder of a key that has just been asked for is known for a second; who guesses its secret is not told so.
  expect(await find(own, keyId)).toEqual(wrong);
});
