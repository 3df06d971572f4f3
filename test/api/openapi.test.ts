import { beforeAll, describe, expect, it } from '@jest/globals';
import { describeTenantApi } from '../../src/tenant-api.ts';
import { useDatabase } from '../support/database.ts';
import { routesOf } from '../support/routes.ts';
import { useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database, { env: { DATABASE_REPLICA_URLS: '' } });

interface Operation {
  operationId: string;
  tags: string[];
  security?: object[];
  parameters: { name?: string; in?: string; schema?: object; $ref?: string }[];
  requestBody?: { content: Record<string, object> };
  responses: Record<string, { $ref?: string; headers?: object }>;
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  tags: { name: string }[];
}

let document: Document;
beforeAll(async () => {
  const { body } = await service.api().get('/openapi.json').expect(200);
  document = body as Document;
});

const operations = () =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path}`,
      operation,
    })),
  );
const operationOf = (id: string): Operation => {
  const found = operations().find(({ operation }) => operation.operationId === id);
  if (found === undefined) throw new Error(`There is no operation ${id}`);
  return found.operation;
};

describe('the description of the tenant API', () => {
  it('has every route that is mounted, and no other', () => {
    const mounted = routesOf(service.tenantry.tenantApp).map((route) => route.replaceAll(/:(\w+)/g, '{$1}'));
    expect(
      operations()
        .map(({ route }) => route)
        .toSorted(),
    ).toEqual(mounted.toSorted());
  });

  it('names each operation once, under a tag that is told', () => {
    const ids = operations().map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = operations().flatMap(({ operation }) => operation.tags);
    expect(new Set(tags)).toEqual(new Set(document.tags.map(({ name }) => name)));
  });

  it('has the parameters of a list from its rules', () => {
    const names = operationOf('listProducts').parameters.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining([
        ...['limit', 'cursor', 'sort', 'count', 'fields', 'deleted'],
        ...['filter[sku]', 'filter[sku][prefix]', 'filter[priceCents][gte]', 'filter[description][null]'],
      ]),
    );
    const sort = operationOf('listOrders').parameters.find(({ name }) => name === 'sort');
    expect(sort?.schema).toMatchObject({
      default: '-placedAt',
      enum: expect.arrayContaining(['number', '-number']),
    });
    expect(operationOf('listOrders').parameters.find(({ name }) => name === 'include')?.schema).toMatchObject(
      {
        items: { enum: ['lines'] },
      },
    );
  });

  it('is open, is kept by its tag, and says which routes are', async () => {
    const first = await service.api().get('/openapi.json').expect(200);
    expect(first.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'public, no-cache',
    });
    const again = await service
      .api()
      .get('/openapi.json')
      .set('If-None-Match', String(first.headers['etag']))
      .expect(304);
    expect(again.text).toBe('');
    const refused = await service.api().get('/openapi.json').set('If-None-Match', 'x').expect(400);
    expect(refused.headers).toMatchObject({ 'cache-control': 'private, no-store' });
    const open = operations().filter(({ operation }) => operation.security?.length === 0);
    for (const { route, operation } of operations()) {
      const [method = '', path = ''] = route
        .replace('{id}', '00000000-0000-4000-8000-000000000000')
        .split(' ');
      const client = service.api();
      const answer = await client[method.toLowerCase() as 'get'](path).send(
        method === 'GET' ? undefined : {},
      );
      expect([route, answer.status === 401]).toEqual([route, operation.security?.length !== 0]);
    }
    expect(open.map(({ operation }) => operation.operationId)).toContain('login');
  });

  it('is what the command line prints', async () => {
    expect(document).toEqual(JSON.parse(JSON.stringify(await describeTenantApi())));
  });
});

describe('/docs', () => {
  it('loads from here alone, and nothing inline, under the policy of every answer', async () => {
    const { headers: redirected } = await service.api().get('/docs').expect(308);
    expect(redirected['location']).toBe('docs/');
    const page = await service
      .api()
      .get('/docs/')
      .expect(200)
      .expect('Content-Type', /^text\/html/);
    const policy = String((await service.api().get('/livez')).headers['content-security-policy']);
    expect(page.headers['content-security-policy']).toBe(policy);
    expect(policy).toContain("script-src 'self';");
    expect(page.text).not.toMatch(/<script>|<style| on\w+=|https?:/);
    const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file]) => file);
    expect(files).toHaveLength(4);
    for (const file of files) {
      const { headers, body, text } = await service.api().get(`/docs/${file}`).expect(200);
      expect(headers['cache-control']).toMatch(/^public, (no-cache|max-age=86400)$/);
      expect((text ?? String(body)).length).toBeGreaterThan(100);
    }
  });

  it('has nothing else of the package', async () => {
    for (const file of ['package.json', 'index.html', 'swagger-initializer.js', '..%2fpackage.json', 'x']) {
      await service.api().get(`/docs/${file}`).expect(404);
    }
    await service.api().post('/docs/start.js').expect(404);
  });
});
