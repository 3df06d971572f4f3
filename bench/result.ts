import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { drawChart } from './chart.ts';
import type { Commit, Machine } from './machine.ts';
import type { Measurement, Summary } from './measurement.ts';

/** All of one run, as it is kept in bench/results. */
export interface Result {
  /** ISO 8601, when the run began. */
  date: string;
  commit: Commit;
  machine: Machine;
  settings: { rounds: number; seconds: number; connections: number; poolMax: number };
  population: { tenants: number; productsPerTenant: number };
  /** Why a contender is missing. */
  leftOut: string[];
  summaries: Summary[];
  measurements: Measurement[];
}

const folder = path.join(import.meta.dirname, 'results');

/** Writes `<date>-<commit>.json` and the chart beside it. @returns both paths */
export async function writeResult(result: Result): Promise<{ json: string; svg: string }> {
  const { id, dirty } = result.commit;
  const name = `${result.date.slice(0, 10)}-${id}${dirty ? '-dirty' : ''}`;
  const [json, svg] = [path.join(folder, `${name}.json`), path.join(folder, `${name}.svg`)];
  await mkdir(folder, { recursive: true });
  await writeFile(json, `${JSON.stringify(result, roundFigures, 2)}\n`);
  await writeFile(svg, drawChart(result));
  return { json, svg };
}

function roundFigures(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Math.round(value * 1000) / 1000 : value;
}
