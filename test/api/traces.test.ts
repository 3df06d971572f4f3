import { beforeAll, describe, expect, it } from '@jest/globals';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { useDatabase } from '../support/database.ts';
import { createLogLines } from '../support/log-lines.ts';
import { loadTracing } from '../support/spans.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const spans = loadTracing();
const database = useDatabase();
const log = createLogLines();
const service = useTenantry(database, { overrides: { logger: log.logger } });

const traceId = (n: number) => `4bf92f3577b34da6a3ce929d0e0e47${n}`;
const caller = '00f067aa0ba902b7';
const from = (id: string) => ({ traceparent: `00-${id}-${caller}-01` });

describe('with an SDK of OpenTelemetry', () => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard('traced', 'shared');
  });

  /** The span of a request ends when its connection has been told. */
  async function traceOf(id: string) {
    const request = () => spans.of(id).find(({ kind }) => kind === SpanKind.SERVER);
    await until(() => request() !== undefined, 'the span of the request');
    return { request: request(), statements: spans.of(id).filter(({ kind }) => kind === SpanKind.CLIENT) };
  }

  it('a request is a span below the one of its caller, and its statements are spans below it', async () => {
    const id = traceId(10);
    await tenant.client.get('/v1/products?filter[name]=Personal').set(from(id)).expect(200);
    const { request, statements } = await traceOf(id);
    expect(request).toMatchObject({
      name: 'GET /v1/products',
      parentSpanContext: { spanId: caller },
      attributes: {
        'http.request.method': 'GET',
        'http.route': '/v1/products',
        'http.response.status_code': 200,
        'tenantry.node': expect.stringMatching(/^(primary|replica-1)$/),
        'tenantry.reason': expect.any(String),
      },
    });
    const page = statements.find(({ name }) => name === 'products.page');
    expect(page).toMatchObject({
      parentSpanContext: { spanId: request?.spanContext().spanId },
      status: { code: SpanStatusCode.UNSET },
      attributes: {
        'db.system.name': 'postgresql',
        'tenantry.node': request?.attributes['tenantry.node'],
        'tenantry.reason': request?.attributes['tenantry.reason'],
      },
    });
    expect(page?.duration[0]).toBe(0);
  });

  it('those after a body has been read belong to the request, too; one that fails says so', async () => {
    const id = traceId(11);
    const product = { sku: 'T', name: 'Personal', priceCents: 1, stock: 1 };
    await tenant.client.post('/v1/products').send(product).expect(201);
    await tenant.client.post('/v1/products').set(from(id)).send(product).expect(409);
    const { request, statements } = await traceOf(id);
    expect(statements.find(({ name }) => name === 'products.insert')).toMatchObject({
      parentSpanContext: { spanId: request?.spanContext().spanId },
      status: { code: SpanStatusCode.ERROR },
      attributes: { 'db.response.status_code': '23505' },
    });
    expect(request).toMatchObject({ status: { code: SpanStatusCode.UNSET } });
  });

  it('a request without a caller begins a trace, and its log line names it', async () => {
    await tenant.client.get('/v1/me').set('X-Request-Id', 'begins').expect(200);
    const find = () => log.lines().find((entry) => entry['requestId'] === 'begins');
    await until(() => find() !== undefined, 'the line');
    const { request } = await traceOf(String(find()?.['trace_id']));
    expect(request?.parentSpanContext).toBeUndefined();
  });

  it('no span holds a value, a tenant, an actor or an id of a resource', () => {
    const shown = spans
      .all()
      .map(({ name, attributes, events, status }) => ({ name, attributes, events, status }));
    expect(shown.length).toBeGreaterThan(5);
    const text = JSON.stringify(shown);
    expect(text).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/);
    expect(text).not.toMatch(/Personal|traced/);
  });
});
