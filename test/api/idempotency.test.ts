import { describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { password, useTenantry } from '../support/tenantry.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);

const input = (slug: string, more: object = {}) => ({
  slug,
  name: 'A tenant',
  isolation: 'schema',
  owner: { email: 'owner@tenants.test', password },
  ...more,
});
const create = (key: string, body: object) =>
  service.operator().post('/admin/v1/tenants').set('Idempotency-Key', key).send(body);

describe('POST /admin/v1/tenants with an Idempotency-Key', () => {
  it('has one effect and one answer, which says that it is given again', async () => {
    const first = await create('key-1', input('once')).expect(201);
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    await unchanged(database, async () => {
      for (const key of ['key-1', '"key-1"']) {
        const again = await create(key, input('once')).expect(201);
        expect(again.headers['idempotency-replayed']).toBe('true');
        expect(again.headers['location']).toBe(first.headers['location']);
        expect(again.text).toBe(first.text);
      }
    });
  });

  it('answers the same when the tenant has changed since', async () => {
    const first = await create('key-2', input('changed')).expect(201);
    await service.operator().post('/admin/v1/tenants/changed/suspend').expect(200);
    expect((await create('key-2', input('changed')).expect(201)).body).toEqual(first.body);
  });

  it('refuses another body', async () => {
    await create('key-3', input('bodied')).expect(201);
    await unchanged(database, async () => {
      for (const body of [input('bodied', { name: 'B' }), input('other-body')]) {
        expectProblem(await create('key-3', body), 422, 'idempotency_key_reused', []);
      }
    });
  });

  it('of several at the same time lets one through, and the others have its answer or are asked to wait', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => create('key-4', input('at-once'))));
    const made = answers.filter(({ status }) => status === 201);
    const waiting = answers.filter(({ status }) => status === 409);
    expect(made.length + waiting.length).toBe(4);
    expect(made.filter(({ headers }) => headers['idempotency-replayed'] === undefined)).toHaveLength(1);
    for (const answer of waiting) {
      expectProblem(answer, 409, 'request_under_way', []);
      expect(answer.headers['retry-after']).toBe('1');
    }
    const again = await create('key-4', input('at-once')).expect(201);
    expect(again.body).toEqual(made[0]?.body);
  });

  it('keeps no refusal: what was wrong can be mended with the same key', async () => {
    await create('key-5', input('mended')).expect(201);
    expectProblem(await create('key-6', input('mended')), 409, 'slug_taken', ['/slug']);
    await create('key-6', input('mended-now')).expect(201);
  });

  it('forgets after a day', async () => {
    await create('key-7', input('yesterday')).expect(201);
    await database.superuser(`update control.idempotency_keys set created_at = now() - interval '25 hours'`);
    expectProblem(await create('key-7', input('yesterday')), 409, 'slug_taken', ['/slug']);
    await create('key-7', input('today')).expect(201);
    expect(await database.superuser('select key from control.idempotency_keys')).toEqual([{ key: 'key-7' }]);
  });

  it.each(['', ' ', 'a b', 'é', 'x'.repeat(256), 'a,b'])('refuses the key %j', async (key) => {
    await unchanged(database, async () => {
      const answer = await create(key, input('never'));
      expectProblem(answer, 400, 'invalid_input', ['Idempotency-Key']);
    });
  });

  it('keeps no password, not even as a plain digest', async () => {
    const rows = await database.superuser<{ row: string }>(
      'select to_jsonb(k)::text as row from control.idempotency_keys k',
    );
    expect(rows.length).toBeGreaterThan(0);
    expect(JSON.stringify(rows)).not.toContain(password);
  });
});
