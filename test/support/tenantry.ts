import { afterAll, beforeAll, expect } from '@jest/globals';
import { pino } from 'pino';
import request from 'supertest';
import { build, type Overrides, type Tenantry } from '../../src/build.ts';
import { loadConfig } from '../../src/config.ts';
import type { Isolation, TenantLimits, TenantScope } from '../../src/db/index.ts';
import { beforeDrop, type TestDatabase } from './database.ts';
import { until } from './until.ts';
import type { Answer } from './wire.ts';

/** A whole service on a test database, and the ways to it that tests take. */
export interface TestTenantry {
  tenantry: Tenantry;
  /** Without credentials. */
  api(): request.Agent;
  admin(): request.Agent;
  /** With an operator's token. */
  operator(): request.Agent;
  /** Onboards a tenant through the admin API and logs its owner in. */
  onboard(slug: string, isolation: Isolation, limits?: TenantLimits): Promise<TestTenant>;
  login(slug: string, email: string, password: string): Promise<request.Agent>;
}

export interface TestTenant {
  id: string;
  slug: string;
  isolation: Isolation;
  ownerEmail: string;
  token: string;
  refreshToken: string;
  /** The owner. */
  client: request.Agent;
  /** For calling services and repositories directly, as the owner. */
  scope: TenantScope;
}

export const password = 'a password of tests';
export const testSecret = 'a key that is only good for tests, 32 characters or more';
const operator = { email: 'operator@tenantry.test', password: 'operator of tests' };

export function testConfig(database: TestDatabase, env: Record<string, string> = {}) {
  return loadConfig(
    {
      ...database.env(),
      JWT_SECRET: testSecret,
      BCRYPT_COST: '4',
      OPERATOR_EMAIL: operator.email,
      OPERATOR_PASSWORD: operator.password,
      LOG_LEVEL: 'silent',
      ...env,
    },
    'serve',
  );
}

/** To be called at the top of a test file, after useDatabase(). */
export function useTenantry(
  database: TestDatabase,
  options: { env?: Record<string, string>; overrides?: Overrides } = {},
): TestTenantry {
  let running: TestTenantry | undefined;
  let stopping: Promise<void> | undefined;
  const stop = async () => (stopping ??= running?.tenantry.stop());
  beforeAll(async () => {
    running = await startTenantry(database, options);
  });
  afterAll(stop);
  beforeDrop(database, stop);
  const get = () => {
    if (running === undefined) throw new Error('Tenantry is started in beforeAll');
    return running;
  };
  return {
    get tenantry() {
      return get().tenantry;
    },
    api: () => get().api(),
    admin: () => get().admin(),
    operator: () => get().operator(),
    onboard: (slug, isolation, limits) => get().onboard(slug, isolation, limits),
    login: (slug, email, secret) => get().login(slug, email, secret),
  };
}

export async function startTenantry(
  database: TestDatabase,
  { env = {}, overrides = {} }: { env?: Record<string, string>; overrides?: Overrides } = {},
): Promise<TestTenantry> {
  const tenantry = build(testConfig(database, env), { logger: pino({ level: 'silent' }), ...overrides });
  await tenantry.start();
  const { tenantApp, adminApp } = tenantry;
  const api = () => request.agent(tenantApp);
  const admin = () => request.agent(adminApp ?? missing());
  const { body } = await admin().post('/admin/v1/auth/login').send(operator).expect(200);
  const operatorToken = (body as { accessToken: string }).accessToken;
  const asOperator = () => admin().auth(operatorToken, { type: 'bearer' });

  async function tokensOf(slug: string, email: string, secret: string) {
    const answer = await api()
      .post('/v1/auth/login')
      .set('X-Tenant-ID', slug)
      .send({ email, password: secret })
      .expect(200);
    return answer.body as { accessToken: string; refreshToken: string };
  }

  return {
    tenantry,
    api,
    admin,
    operator: asOperator,
    async login(slug, email, secret) {
      return api().auth((await tokensOf(slug, email, secret)).accessToken, { type: 'bearer' });
    },
    async onboard(slug, isolation, limits = {}) {
      const ownerEmail = `owner@${slug.replaceAll('_', '-')}.test`;
      await asOperator()
        .post('/admin/v1/tenants')
        .send({ slug, name: slug, isolation, owner: { email: ownerEmail, password }, limits })
        .expect(201);
      const { accessToken, refreshToken } = await tokensOf(slug, ownerEmail, password);
      const entry = await tenantry.data.directory.find(slug);
      if (entry === undefined) throw new Error(`${slug} is not in the directory`);
      const client = api().auth(accessToken, { type: 'bearer' });
      const me = await client.get('/v1/me').expect(200);
      return {
        id: entry.tenant.id,
        slug,
        isolation,
        ownerEmail,
        token: accessToken,
        refreshToken,
        client,
        scope: {
          tenant: entry.tenant,
          actor: { kind: 'user', id: (me.body as { id: string }).id, role: 'owner' },
          consistency: { level: { kind: 'strong' } },
        },
      };
    },
  };
}

/** Resolves when this process reads from its replicas. */
export async function replicasFresh({ tenantry }: Pick<TestTenantry, 'tenantry'>): Promise<void> {
  await until(
    () => tenantry.data.db.nodes().every((node) => node.state === 'fresh'),
    'all nodes to be fresh',
  );
}

/** An answer that is a problem by RFC 9457, without its request id. */
export function problemOf(answer: Pick<Answer, 'headers' | 'text'>): Record<string, unknown> {
  expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/);
  const { requestId, ...problem } = JSON.parse(answer.text) as Record<string, unknown>;
  expect(requestId).toBe(answer.headers['x-request-id']);
  return problem;
}

function missing(): never {
  throw new Error('There is no admin app');
}
