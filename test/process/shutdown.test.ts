import { afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Client } from 'pg';
import { killChildren } from '../support/child.ts';
import { useDatabase } from '../support/database.ts';
import { useFolder } from '../support/folder.ts';
import { logLines, type Served, startServing } from '../support/served.ts';
import { type TestTenant, startTenantry } from '../support/tenantry.ts';
import { until } from '../support/until.ts';

jest.setTimeout(60_000);

const database = useDatabase();
const folder = useFolder();
afterEach(killChildren);

let tenant: TestTenant;
beforeAll(async () => {
  const service = await startTenantry(database);
  tenant = await service.onboard('drained', 'schema');
  await service.tenantry.stop();
});

interface Outcome {
  /** Answered in full. */
  answered: boolean;
  status: number;
  /** The request had been sent on a connection that was open. */
  code: string;
}

/** One request, and what came of it; never throws. */
function send(served: Served, agent: Agent, method: 'GET' | 'POST', body?: object): Promise<Outcome> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException) =>
      resolve({ answered: false, status: 0, code: error.code ?? error.message });
    const headers = { Authorization: `Bearer ${tenant.token}`, 'Content-Type': 'application/json' };
    const outgoing = request(`${served.tenantUrl}/v1/products`, { method, agent, headers });
    outgoing.on('error', failed);
    outgoing.on('response', (answer: IncomingMessage) => {
      answer.on('error', failed);
      answer.resume();
      answer.on('end', () =>
        resolve({ answered: answer.complete, status: answer.statusCode ?? 0, code: '' }),
      );
    });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const product = (sku: string) => ({ sku, name: sku, priceCents: 1, stock: 1 });
const requestLines = ({ child }: Served) => logLines(child).filter(({ path }) => path === '/v1/products');

/** Locks the tenant's products until released, so that a write to them is under way for as long. */
async function withLockedProducts<T>(fn: (release: () => Promise<void>) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: database.env()['DATABASE_ADMIN_URL'] });
  await client.connect();
  try {
    await client.query('begin; lock table tenant_drained.products in exclusive mode');
    return await fn(async () => void (await client.query('commit')));
  } finally {
    await client.end();
  }
}

const waitingForLock = async () => {
  const rows = await database.superuser(
    `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
  );
  return rows.length > 0;
};

describe('SIGTERM', () => {
  it('under load: every request that reached the server is answered, and it ends with 0', async () => {
    const served = await startServing(database, folder());
    const agent = new Agent({ keepAlive: true, maxSockets: 50 });
    const outcomes: Outcome[] = [];
    const over = new AbortController();
    const clients = Array.from({ length: 50 }, async (_, n) => {
      for (let round = 0; !over.signal.aborted; round += 1) {
        const outcome = await (n % 5 === 0
          ? send(served, agent, 'POST', product(`load-${n}-${round}`))
          : send(served, agent, 'GET'));
        outcomes.push(outcome);
        if (outcome.code === 'ECONNREFUSED') return;
      }
    });
    await until(() => outcomes.length > 2000, '2000 answers', 20_000);
    served.child.kill('SIGTERM');
    const { code } = await served.child.ended();
    over.abort();
    await Promise.all(clients);
    agent.destroy();

    expect(code).toBe(0);
    const answered = outcomes.filter((outcome) => outcome.answered);
    expect(new Set(answered.map(({ status }) => status))).toEqual(new Set([200, 201]));
    // A line is logged for each request that was taken up: not one of them is without its answer.
    expect(requestLines(served)).toHaveLength(answered.length);
    const refused = new Set(outcomes.flatMap(({ answered, code }) => (answered ? [] : [code])));
    refused.delete('ECONNREFUSED');
    refused.delete('ECONNRESET'); // on a connection that was idle and being closed
    expect(refused).toEqual(new Set());
    expect(served.child.stderr()).toBe('');
    const left = await database.superuser(
      `select pid from pg_stat_activity where datname = current_database() and usename <> 'postgres'`,
    );
    expect(left).toEqual([]);
  });

  it('with a request under way waits for it, is not ready meanwhile, and then ends with 0', async () => {
    const served = await startServing(database, folder());
    const agent = new Agent({ keepAlive: true });
    const port = Number(new URL(served.tenantUrl).port);
    // A load balancer's connection, opened before: new ones are not taken any more.
    const probe = connect(port, '127.0.0.1');
    await once(probe, 'connect');
    probe.write('GET /livez HTTP/1.1\r\nHost: a\r\n');
    await withLockedProducts(async (release) => {
      const underWay = send(served, agent, 'POST', product('patient'));
      await until(waitingForLock, 'the write to wait');
      served.child.kill('SIGTERM');
      await until(async () => (await tries(port)) === 'refused', 'new connections to be refused');
      const answer = textOf(probe);
      probe.write('Connection: keep-alive\r\n\r\n');
      expect(await answer).toMatch(/^HTTP\/1\.1 200 [^]*connection: close/i);
      expect(served.child.code()).toBeUndefined();
      await release();
      expect(await underWay).toMatchObject({ answered: true, status: 201 });
    });
    agent.destroy();
    expect((await served.child.ended()).code).toBe(0);
    expect(
      await database.superuser(`select from tenant_drained.products where sku = 'patient'`),
    ).toHaveLength(1);
  });

  it('cuts off what is still under way when the grace period ends, and says so', async () => {
    const served = await startServing(database, folder(), { SHUTDOWN_GRACE_MS: '300' });
    const agent = new Agent();
    await withLockedProducts(async (release) => {
      const hung = send(served, agent, 'POST', product('hung'));
      await until(waitingForLock, 'the write to wait');
      served.child.kill('SIGTERM');
      expect(await hung).toMatchObject({ answered: false });
      await release();
      expect((await served.child.ended()).code).toBe(0);
    });
    expect(logLines(served.child)).toContainEqual(
      expect.objectContaining({ cutOff: 1, msg: expect.stringContaining('grace') }),
    );
  });

  it('a second time, a moment later, ends it at once', async () => {
    const served = await startServing(database, folder());
    const agent = new Agent();
    await withLockedProducts(async () => {
      const hung = send(served, agent, 'POST', product('impatient'));
      await until(waitingForLock, 'the write to wait');
      const port = Number(new URL(served.tenantUrl).port);
      served.child.kill('SIGTERM');
      await until(async () => (await tries(port)) === 'refused', 'the draining to begin');
      await until(() => {
        served.child.kill('SIGTERM');
        return served.child.code() !== undefined;
      }, 'the process to end');
      expect(served.child.code()).toBe(1);
      expect(await hung).toMatchObject({ answered: false });
    });
  });

  it('in production gives notice first: readyz says draining while the port is still open', async () => {
    const served = await startServing(database, folder(), {
      NODE_ENV: 'production',
      BCRYPT_COST: '10',
      OPERATOR_PASSWORD: 'correct horse battery',
      JWT_SECRET: 'a key of this test and of nothing else, 32 characters',
    });
    const ready = () => fetch(`${served.tenantUrl}/readyz`);
    expect((await ready()).status).toBe(200);
    served.child.kill('SIGTERM');
    const seen: unknown[] = [];
    await until(async () => {
      const answer = await ready();
      const { status } = (await answer.json()) as { status: string };
      seen.push({ code: answer.status, status, connection: answer.headers.get('connection') });
      return answer.status === 503;
    }, 'readyz to fail');
    expect(seen.at(-1)).toEqual({ code: 503, status: 'draining', connection: 'close' });
    expect((await served.child.ended()).code).toBe(0);
  });
});

/** Whether the port takes a connection. */
function tries(port: number): Promise<'open' | 'refused'> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve('open');
    });
    socket.once('error', () => resolve('refused'));
  });
}

/** All that comes until the other side closes. */
async function textOf(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  await once(socket, 'close');
  return text;
}
