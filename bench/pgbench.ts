import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { idInSql, productsPerTenant, tenantCount } from './population.ts';
import { statements } from './opponents/products.ts';
import { findProgram } from './installed.ts';
import type { LoadOutcome } from './load.ts';
import { pageSize } from './request.ts';
import type { Workload } from './workload.ts';

/** The floor under every contender: the same statements, prepared, without HTTP and without Node. */
export interface Pgbench {
  /** undefined for RW, which is about routing. */
  run(
    workload: Workload,
    options: { url: string; clients: number; seconds: number },
  ): Promise<LoadOutcome | undefined>;
}

const run = promisify(execFile);
const sets = `\\set t random(0, ${tenantCount - 1})
\\set p random(0, ${productsPerTenant - 1})
\\set n :t * ${productsPerTenant} + :p
\\set r random(1, 1000000000000000)
`;
const tenant = idInSql('tenant', ':t::int');

const scripts: Record<Exclude<Workload, 'RW'>, string> = {
  R1: bind(statements.byId.text, [tenant, idInSql('product', ':n::int')]),
  R20: bind(statements.page.text, [tenant, String(pageSize)]),
  W1: bind(statements.insert.text, [
    tenant,
    'gen_random_uuid()',
    `'pgbench-' || :r`,
    `'Written'`,
    '1999',
    '7',
  ]),
};

/** Undefined when it is not installed. */
export async function findPgbench(): Promise<Pgbench | undefined> {
  const program = await findProgram('pgbench');
  if (program === undefined) return undefined;
  return {
    async run(workload, { url, clients, seconds }) {
      if (workload === 'RW') return undefined;
      const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-pgbench-'));
      try {
        const file = path.join(folder, `${workload}.sql`);
        await writeFile(file, `${sets}${scripts[workload]};\n`);
        const flags = ['-n', '-M', 'prepared', '-c', String(clients), '-j', '1', '-T', String(seconds)];
        const { stdout } = await run(program, [...flags, '-f', file, url]);
        return outcome(stdout);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  };
}

function bind(text: string, values: readonly string[]): string {
  return text.replaceAll(/\$(\d)/g, (_, place: string) => values[Number(place) - 1] ?? '');
}

function outcome(report: string): LoadOutcome {
  const figure = (pattern: RegExp) => Number(pattern.exec(report)?.[1]);
  const failed = figure(/number of failed transactions: (\d+)/);
  return {
    requestsPerSecond: figure(/tps = ([\d.]+)/),
    completed: figure(/number of transactions actually processed: (\d+)/),
    p50Ms: undefined,
    p99Ms: undefined,
    failure: failed > 0 ? `${failed} transactions failed` : undefined,
    routing: undefined,
  };
}
