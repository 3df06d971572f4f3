import type { Client } from 'pg';
import { withClient } from './connection.ts';
import { changeOf } from './fleet-change.ts';
import type { FleetContender, Took } from './fleet-contenders.ts';
import { runFleet, told } from './fleet-run.ts';
import type { FleetSteps } from './fleet-steps.ts';
import { median } from './measurement.ts';
import { rotated } from './rounds.ts';
import type { World } from './world.ts';

/** How long it takes to migrate the whole fleet, and to find that there is nothing to do. */
export interface ThroughputOptions {
  world: World;
  steps: FleetSteps;
  contenders: readonly FleetContender[];
  schemas: readonly string[];
  rounds: number;
  parallel: number;
  onProgress: (message: string) => void;
}

/** Of each round. */
export interface Throughput {
  contenders: { contender: FleetContender; took: Took[] }[];
  nothingToDo: Took[];
}

/**
 * Each round begins with another contender, and each contender makes a table and a column of its own in the same schemas.
 *
 * @throws when any of them has not made everything everywhere, or our ledgers do not say so
 */
export async function measureThroughput(options: ThroughputOptions): Promise<Throughput> {
  const { world, steps, schemas, rounds, parallel, onProgress } = options;
  const contenders = options.contenders.map((contender) => ({ contender, took: [] as Took[] }));
  const nothingToDo: Took[] = [];
  // So that the tables of its ledger are there, as ours are.
  onProgress('Making the ledgers of the loop');
  await (await options.contenders.find(({ key }) => key === 'loop')?.prepare('loop_0'))?.();
  for (let round = 1; round <= rounds; round += 1) {
    for (const { contender, took } of rotated(contenders, round - 1)) {
      onProgress(`Round ${round}: ${contender.label}`);
      const key = `${contender.key}_${round}`;
      const migrate = await contender.prepare(key);
      took.push(await migrate());
      await withClient(world.ownerUrl, (client) => verify(client, contender, key, schemas));
    }
    onProgress(`Round ${round}: nothing to do`);
    const { report, timed } = await runFleet(world, steps.newer, { parallel });
    if (report.run !== undefined || report.status !== 'succeeded') throw new Error(told(report));
    nothingToDo.push(timed);
  }
  return { contenders, nothingToDo };
}

async function verify(
  client: Client,
  { key: who, label }: FleetContender,
  key: string,
  schemas: readonly string[],
): Promise<void> {
  const { table, index, column } = changeOf(key);
  const count = async (sql: string, values: readonly unknown[] = []) =>
    Number((await client.query<{ n: string }>(sql, [...values])).rows[0]?.n);
  const made: Record<string, number> = {
    tables: await count(
      `select count(*) as n from pg_tables where tablename = $1 and schemaname = any ($2)`,
      [table, schemas],
    ),
    indexes: await count(
      `select count(*) as n from pg_index i join pg_class c on c.oid = i.indexrelid
       where c.relname = $1 and i.indisvalid and c.relnamespace::regnamespace::text = any
         (select quote_ident(s) from unnest($2::text[]) s)`,
      [index, schemas],
    ),
    columns: await count(
      `select count(*) as n from information_schema.columns
       where table_name = 'products' and column_name = $1 and table_schema = any ($2)`,
      [column, schemas],
    ),
  };
  if (who === 'tenantry') {
    const ours = `like '%\\_${key.replaceAll('_', '\\_')}'`;
    made['rows of the central ledger'] = await count(
      `select count(*) as n from control.migration_ledger where migration ${ours}`,
    );
    made['versions'] = await count(
      `select count(*) as n from control.schema_versions where version ${ours} and schema_name = any ($1)`,
      [schemas],
    );
    made["rows of knex's ledgers"] = 0;
    for (const schema of schemas) {
      made["rows of knex's ledgers"] += await count(
        `select count(*) as n from "${schema}".knex_migrations where name ${ours}`,
      );
    }
  }
  for (const [what, many] of Object.entries(made)) {
    if (many !== schemas.length) throw new Error(`${label}: ${many} ${what} for ${schemas.length} schemas`);
  }
}

export function tellThroughput({ contenders, nothingToDo }: Throughput, schemas: number): string {
  const of = (wanted: FleetContender['key']) =>
    contenders.find(({ contender }) => contender.key === wanted)?.took ?? [];
  const lines = contenders.map(
    ({ contender, took }) =>
      `${contender.label}: ${seconds(took)}; ${((median(took.map(({ ms }) => ms)) ?? 0) / schemas).toFixed(1)} ms a schema`,
  );
  lines.push(`tenantry migrate up, nothing to do: ${seconds(nothingToDo)} (wanted: below 1 s)`);
  lines.push(`A takes ${times(of('loop'), of('tenantry'))} of Tenantry's time (wanted: 5 or more)`);
  if (of('psql').length === 0) lines.push('B is left out: psql and GNU xargs are not both installed');
  else lines.push(`Tenantry takes ${times(of('tenantry'), of('psql'))} of B's time (wanted: 2 or less)`);
  return `${lines.join('\n')}\n`;
}

function seconds(took: readonly Took[]): string {
  const all = took.map(({ ms }) => (ms / 1000).toFixed(2)).join(', ');
  const cpuMs = median(took.map((one) => one.cpuMs));
  const cpu = cpuMs === undefined ? '' : `, ${(cpuMs / 1000).toFixed(2)} s of a processor`;
  return `${((median(took.map(({ ms }) => ms)) ?? 0) / 1000).toFixed(2)} s (${all})${cpu}`;
}

/** Of the same round, the median of the rounds. */
function times(took: readonly Took[], unit: readonly Took[]): string {
  const ratios = took.map(({ ms }, round) => ms / (unit[round]?.ms ?? Number.NaN));
  return `${(median(ratios) ?? 0).toFixed(2)} times (${ratios.map((one) => one.toFixed(2)).join(', ')})`;
}
