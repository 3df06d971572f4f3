import { labelOf } from './label.ts';
import type { Summary } from './measurement.ts';
import type { Routing } from './routing.ts';
import { workloads } from './workload.ts';

const head = ['', 'req/s', '× A', 'rounds', 'p50 ms', 'p99 ms', 'CPU µs/req'];

/** A block per workload, for people. */
export function drawTable(summaries: readonly Summary[]): string {
  const keys = [...new Set(summaries.map((summary) => summary.workload))];
  const blocks = keys.map((workload) => {
    const rows = summaries.filter((summary) => summary.workload === workload);
    const lines = align([head, ...rows.map(cells)]);
    return [`${workload}: ${workloads[workload]}`, ...lines, ...rows.flatMap(routingLines)].join('\n');
  });
  return `${blocks.join('\n\n')}\n`;
}

function cells(summary: Summary): string[] {
  const { contender, requestsPerSecond, ratio, p50Ms, p99Ms, cpuUs } = summary;
  return [
    labelOf(contender),
    whole(requestsPerSecond),
    figure(ratio, 2),
    `${whole(summary.slowest)}–${whole(summary.fastest)}`,
    figure(p50Ms, 0),
    figure(p99Ms, 0),
    figure(cpuUs, 0),
  ];
}

function routingLines({ contender, routing }: Summary): string[] {
  if (routing === undefined) return [];
  const { reads, byReplica, windowReads, windowByReplica, ownReads, stale, reasons } = routing;
  const own = `${stale} stale of ${ownReads.toLocaleString('en')} reads of own writes`;
  if (Object.keys(reasons).length === 0) return [`  ${labelOf(contender)}: ${own}`];
  return [
    `  ${labelOf(contender)}: ${own}; by replicas ${share(byReplica, reads)} of all reads, ` +
      `${share(windowByReplica, windowReads)} of those within the window of the actor's write`,
    `  ${labelOf(contender)}: reasons ${told(reasons, reads)}`,
  ];
}

function told(reasons: Routing['reasons'], reads: number): string {
  return Object.entries(reasons)
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${reason} ${share(count, reads)}`)
    .join(', ');
}

function share(part: number, whole: number): string {
  return whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function figure(value: number | undefined, digits: number): string {
  return value === undefined ? '–' : value.toFixed(digits);
}

function align(rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map(
    (row) =>
      `  ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join('   ')}`,
  );
}
