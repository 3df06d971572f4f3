import { beforeAll, beforeEach, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

let tenant: TestTenant;
let path = '';
let tag = '';
let made = 0;
beforeAll(async () => {
  tenant = await service.onboard('conditional', 'shared');
});
beforeEach(async () => {
  made += 1;
  const body = { sku: `C-${made}`, name: 'Cup', priceCents: 1, stock: 1 };
  const { headers } = await tenant.client.post('/v1/products').send(body).expect(201);
  path = String(headers['location']);
  tag = String(headers['etag']);
});

it('an answer has the tag of its version, whichever way it was asked for', async () => {
  expect(tag).toMatch(/^"1\.[\w-]{6}"$/);
  expect((await tenant.client.get(path).expect(200)).headers['etag']).toBe(tag);
  const patched = await tenant.client.patch(path).send({ stock: 2 }).expect(200);
  expect(patched.headers['etag']).toBe(tag.replace('"1.', '"2.'));
  await tenant.client.delete(path).expect(204);
  const restored = await tenant.client.post(`${path}/restore`).expect(200);
  expect(restored.headers['etag']).toBe(tag.replace('"1.', '"4.'));
  const part = await tenant.client.get(`${path}?fields=sku`).expect(200);
  expect(part.headers['etag']).not.toBe(restored.headers['etag']);
});

it('who has it already is answered with 304, and who has an older one with the resource', async () => {
  for (const given of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
    const answer = await tenant.client.get(path).set('If-None-Match', given).expect(304);
    expect(answer.text).toBe('');
    expect(answer.headers).toMatchObject({ etag: tag, 'cache-control': 'private, no-store' });
  }
  await tenant.client.get(path).set('If-None-Match', '"1.aaaaaa"').expect(200);
  await tenant.client.get(`${path}?fields=sku`).set('If-None-Match', tag).expect(200);
  await tenant.client.patch(path).send({ stock: 2 }).expect(200);
  await tenant.client.get(path).set('If-None-Match', tag).expect(200);
});

it('If-Match lets a change through when the client knows the version, and else nothing is changed', async () => {
  const patch = (given: string) => tenant.client.patch(path).set('If-Match', given).send({ stock: 9 });
  await patch(tag).expect(200);
  for (const given of [tag, `W/"2.${tag.slice(3, 9)}"`, '"2"', '"x"']) {
    expectProblem(await patch(given), 412, 'precondition_failed');
    const removed = await tenant.client.delete(path).set('If-Match', given);
    expectProblem(removed, 412, 'precondition_failed');
  }
  expect((await tenant.client.get(path).expect(200)).body).toMatchObject({ version: 2, stock: 9 });
  await patch(`"x", ${tag.replace('"1.', '"2.')}`).expect(200);
  await patch('*').expect(200);
  await tenant.client.delete(path).set('If-Match', tag.replace('"1.', '"4.')).expect(204);
  expectProblem(await patch(tag), 404, 'not_found');
});

it.each(['x', '1', '"', 'W/', '"a" "b"', `"${'a'.repeat(1000)}"`, '"a",'])(
  'If-Match: %s is refused',
  async (given) => {
    const answer = await tenant.client.patch(path).set('If-Match', given).send({ stock: 9 });
    expectProblem(answer, 400, 'invalid_input', ['If-Match']);
    const refused = await tenant.client.get(path).set('If-None-Match', given);
    expectProblem(refused, 400, 'invalid_input', ['If-None-Match']);
    expect(refused.headers).not.toHaveProperty('etag');
  },
);

it('of many who know the same version one comes through', async () => {
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, n) => tenant.client.patch(path).set('If-Match', tag).send({ stock: n })),
  );
  expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([
    200,
    ...Array<number>(9).fill(412),
  ]);
  expect((await tenant.client.get(path).expect(200)).body).toMatchObject({ version: 2 });
});

it('holds for users and orders as well', async () => {
  const { body } = await tenant.client.get('/v1/products').expect(200);
  const [{ id: productId } = { id: '' }] = (body as { data: { id: string }[] }).data;
  const email = `c${made}@conditional.test`;
  const user = { email, password: 'long enough, is it?', name: 'First' };
  const order = { lines: [{ productId, quantity: 1 }] };
  for (const [at, input, change] of [
    ['/v1/users', user, { name: 'Second' }],
    ['/v1/orders', order, { customerId: null }],
  ] as const) {
    const { headers } = await tenant.client.post(at).send(input).expect(201);
    const [where, known] = [String(headers['location']), String(headers['etag'])];
    await tenant.client.get(where).set('If-None-Match', known).expect(304);
    await tenant.client.patch(where).set('If-Match', known).send(change).expect(200);
    expectProblem(
      await tenant.client.patch(where).set('If-Match', known).send(change),
      412,
      'precondition_failed',
    );
    expectProblem(await tenant.client.delete(where).set('If-Match', known), 412, 'precondition_failed');
    await tenant.client.get(where).expect(200);
  }
});
