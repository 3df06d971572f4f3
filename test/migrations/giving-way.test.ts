import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { useDatabase } from '../support/database.ts';
import { slugs, useFleet } from '../support/fleet.ts';

let server: Server;
/** Answers to clients that a process has given, as its /metrics tells. */
let answers = 0;
let clients = 0;

beforeAll(async () => {
  server = createServer((_request, response) => {
    answers += clients;
    response.end(`tenantry_http_requests_total{method="GET",status="200"} ${answers}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe('a run', () => {
  const database = useDatabase();
  const fleet = useFleet(database, {}, () => ({
    MIGRATE_WATCH_URLS: `http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`,
  }));
  const takesMs = 100;

  beforeAll(async () => {
    for (const slug of slugs(3)) await fleet.onboard(slug);
  });

  /** Milliseconds between the end of the step in one schema and its beginning in the next. */
  async function gapsOf(step: string): Promise<number[]> {
    await fleet.addStep('tenant', step, `select pg_sleep(${takesMs / 1000})`);
    expect((await fleet.control.runner.up({ parallel: 1 })).counts).toMatchObject({ applied: 4, failed: 0 });
    const rows = await database.superuser<{ gap: number }>(
      `select (extract(epoch from applied_at - lag(applied_at) over (order by applied_at)) * 1000 - duration_ms)::float as gap
       from control.migration_ledger where migration = $1 order by applied_at offset 1`,
      [step],
    );
    return rows.map(({ gap }) => gap);
  }

  it('gives way after each try while clients are answered', async () => {
    clients = 100_000;
    const gaps = await gapsOf('9001_busy');
    expect(gaps).toHaveLength(3);
    expect(Math.min(...gaps)).toBeGreaterThan(takesMs * 0.9);
  });

  it('does not where nobody is', async () => {
    clients = 0;
    // One of them at least: the machine may be busy with something else.
    expect(Math.min(...(await gapsOf('9002_quiet')))).toBeLessThan(takesMs * 0.9);
  });
});
