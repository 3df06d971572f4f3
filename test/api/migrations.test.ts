import { beforeAll, describe, expect, it } from '@jest/globals';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RunView } from '../../src/control/migrations/runs.ts';
import { beforeDrop, useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';
import { holding } from '../support/holding.ts';
import { expectProblem } from '../support/problem.ts';
import { useTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

const database = useDatabase();
const fleet = useFleet(database);
const service = useTenantry(database, {
  overrides: {
    get migrationsFolder() {
      return fleet.folder;
    },
  },
});
const path = '/admin/v1/migrations';
let url = '';
let server: Server;

beforeAll(async () => {
  for (const slug of slugs(3)) await fleet.onboard(slug);
  const { adminApp } = service.tenantry;
  if (adminApp === undefined) throw new Error('There is an admin app where there is an owner');
  server = createServer(adminApp);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  beforeDrop(database, async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
});

const run = async (id: string) =>
  (await service.operator().get(`${path}/runs/${id}`).expect(200)).body as RunView;
const reaches = async (id: string, status: string) => {
  let last: RunView | undefined;
  await until(async () => (last = await run(id)).status === status, `the run to be ${status}`, 20_000);
  return last as RunView;
};
const start = async (choices: object = {}) =>
  (await service.operator().post(path).send(choices).expect(202)).body as RunView;

/** Follows the events of a run to their end. */
async function follow(id: string, headers: Record<string, string> = {}): Promise<SseEvent[]> {
  const token = await operatorToken();
  const response = await fetch(`${url}${path}/runs/${id}/events`, {
    headers: { authorization: `Bearer ${token}`, ...headers },
  });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  return (await response.text())
    .split('\n\n')
    .filter((block) => block !== '' && !block.startsWith(':'))
    .map((block) => {
      const fields = new Map(
        block
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      );
      return {
        id: Number(fields.get('id') ?? 0),
        event: fields.get('event') ?? '',
        data: JSON.parse(fields.get('data') ?? '') as Record<string, unknown>,
      };
    });
}

interface SseEvent {
  id: number;
  event: string;
  data: Record<string, unknown>;
}

async function operatorToken(): Promise<string> {
  const body = { email: 'operator@tenantry.test', password: 'operator of tests' };
  const answer = await service.admin().post('/admin/v1/auth/login').send(body).expect(200);
  return (answer.body as { accessToken: string }).accessToken;
}

const endSessions = () =>
  database.superuser(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and application_name like 'tenantry-migrate %'`,
  );

describe('a run that is asked for over the API', () => {
  it('migrates the fleet, and can be followed while it does and afterwards', async () => {
    await fleet.addStep('tenant', '9001_one', 'alter table users add column one int');
    expect((await service.operator().get(path).expect(200)).body).toMatchObject({
      schemas: 5,
      pending: 4,
      run: null,
      failures: [],
    });
    const answer = await service
      .operator()
      .post(path)
      .send({ parallel: 2, canary: ['t02'] })
      .expect(202);
    const { id } = answer.body as RunView;
    expect(answer.headers['location']).toBe(`${path}/runs/${id}`);
    const live = await follow(id);
    expect(live.map(({ id: seq }) => seq).slice(0, -1)).toEqual(live.slice(0, -1).map((_, n) => n + 1));
    const waves = live.filter(({ event }) => event === 'wave').map(({ data }) => data['wave']);
    expect(waves).toEqual(['control', 'shared', 'canary', 'wave 1']);
    expect(live.at(-1)).toMatchObject({ event: 'end', data: { id, status: 'succeeded' } });
    expect(
      live.filter(({ event, data }) => event === 'schema' && data['outcome'] === 'applied'),
    ).toHaveLength(4);

    expect(await run(id)).toMatchObject({
      ...{ status: 'succeeded', requestedBy: expect.any(String), options: { parallel: 2, canary: ['t02'] } },
      progress: { total: 4, applied: 4, failed: 0, skipped: 0 },
    });
    expect(await follow(id)).toEqual(live);
    // As a browser comes back.
    expect(await follow(id, { 'last-event-id': '3' })).toEqual(live.slice(3));
    const list = await service.operator().get(`${path}/runs?filter[status]=succeeded&limit=1`).expect(200);
    expect((list.body as { data: RunView[] }).data).toMatchObject([{ id }]);
    expect((await service.operator().get(path).expect(200)).body).toMatchObject({ pending: 0, run: null });
  });

  it('is one at a time; it can be paused, resumed and cancelled', async () => {
    await fleet.addStep('tenant', '9002_two', 'alter table users add column two int');
    const { id } = await holding(database, 'lock table tenant_t01.users', async () => {
      const begun = await start({ parallel: 1 });
      const second = await service.operator().post(path).send({});
      expectProblem(second, 409, 'run_under_way');
      expect((second.body as { detail: string }).detail).toContain(begun.id);
      await until(async () => (await fleet.at('9002_two')) > 0, 'the run to be under way');
      await service.operator().post(`${path}/runs/${begun.id}/pause`).expect(202);
      await reaches(begun.id, 'paused');
      expect((await service.operator().get(path)).body).toMatchObject({
        run: { id: begun.id, status: 'paused' },
      });
      await service.operator().post(`${path}/runs/${begun.id}/resume`).expect(202);
      await reaches(begun.id, 'running');
      await service.operator().post(`${path}/runs/${begun.id}/cancel`).expect(202);
      await reaches(begun.id, 'cancelled');
      return begun;
    });
    expectProblem(await service.operator().post(`${path}/runs/${id}/resume`), 409, 'run_ended');
    const { id: next } = await start();
    await reaches(next, 'succeeded');
    expect(await fleet.at('9002_two')).toBe(4);
  });

  it('whose job is cancelled is over', async () => {
    await fleet.addStep('tenant', '9003_three', 'alter table users add column three int');
    await holding(database, 'lock table tenant_t01.users', async () => {
      const { id } = await start({ parallel: 1 });
      await until(async () => (await fleet.at('9003_three')) > 0, 'the run to be under way');
      const jobs = await service.operator().get('/admin/v1/jobs?filter[kind]=migrate&limit=1').expect(200);
      const [job] = (jobs.body as { data: { id: string }[] }).data;
      await service.operator().post(`/admin/v1/jobs/${job?.id}/cancel`).expect(202);
      await reaches(id, 'cancelled');
    });
    await reaches((await start()).id, 'succeeded');
  });

  it('goes on when the server has ended its sessions', async () => {
    await fleet.addStep('tenant', '9005_five', 'alter table users add column five int');
    const { id } = await holding(database, 'lock table tenant_t01.users', async () => {
      const begun = await start({ parallel: 1 });
      await until(async () => (await fleet.at('9005_five')) > 0, 'the run to be under way');
      await endSessions();
      return begun;
    });
    expect(await reaches(id, 'succeeded')).toMatchObject({ reason: null });
    expect(await fleet.at('9005_five')).toBe(4);
  });

  it('goes on when that happens while it is paused, once it is resumed', async () => {
    await fleet.addStep('tenant', '9006_six', 'alter table users add column six int');
    const { id } = await holding(database, 'lock table tenant_t01.users', async () => {
      const begun = await start({ parallel: 1 });
      await until(async () => (await fleet.at('9006_six')) > 0, 'the run to be under way');
      await service.operator().post(`${path}/runs/${begun.id}/pause`).expect(202);
      await reaches(begun.id, 'paused');
      await endSessions();
      return begun;
    });
    await service.operator().post(`${path}/runs/${id}/resume`).expect(202);
    await reaches(id, 'succeeded');
    expect(await fleet.at('9006_six')).toBe(4);
  });

  it('is seen by Prometheus', async () => {
    const figures = async () => (await service.admin().get('/metrics').expect(200)).text;
    await fleet.addStep('tenant', '9004_four', 'alter table users add column four int');
    await holding(database, 'lock table tenant_t01.users', async () => {
      const { id } = await start({ parallel: 1 });
      await until(
        async () => (await figures()).includes('tenantry_migration_run{status="running"} 1'),
        'the run to be seen',
      );
      const text = await figures();
      expect(text).toMatch(/^tenantry_migration_schemas\{standing="pending"\} [1-4]$/m);
      expect(text).toMatch(/^tenantry_migration_run_schemas\{outcome="waiting"\} [1-4]$/m);
      await service.operator().post(`${path}/runs/${id}/cancel`).expect(202);
      await reaches(id, 'cancelled');
    });
    await reaches((await start()).id, 'succeeded');
    await until(
      async () => (await figures()).includes('tenantry_migration_schemas{standing="pending"} 0'),
      'the end to be seen',
    );
    expect(await figures()).not.toContain('tenantry_migration_run_schemas{');
  });

  it('refuses what is not a run', async () => {
    const unknown = '00000000-0000-7000-8000-000000000000';
    for (const [method, address] of [
      ['get', `${path}/runs/${unknown}`],
      ['get', `${path}/runs/${unknown}/events`],
      ['post', `${path}/runs/${unknown}/pause`],
    ] as const) {
      expectProblem(await service.operator()[method](address), 404, 'not_found');
      expectProblem(await service.admin()[method](address), 401, 'unauthenticated');
    }
    for (const choices of [{ parallel: 0 }, { canary: ['No Slug'] }, { tenants: [] }, { waves: 3 }]) {
      expectProblem(await service.operator().post(path).send(choices), 400, 'invalid_input');
    }
  });

  it('is audited', async () => {
    const rows = await database.superuser<{ action: string }>(
      `select action from control.audit_events where action like 'migrations.%' order by id`,
    );
    expect(rows.map(({ action }) => action.replace('migrations.', ''))).toEqual(
      'start start pause resume cancel start start start start start pause resume start cancel start'.split(
        ' ',
      ),
    );
  });
});
