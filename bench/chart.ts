import type { ContenderKey } from './contender.ts';
import { labelOf } from './label.ts';
import type { Summary } from './measurement.ts';
import type { Result } from './result.ts';
import { workloads } from './workload.ts';

/**
 * Bars of req/s, a group per workload, each group on its own scale; the figure behind a bar is its multiple of A.
 * pgbench is left out: beside its bar all others would look alike.
 */
const [width, left, right] = [760, 170, 150];
const [barHeight, barGap, groupGap, top, bottom] = [18, 5, 46, 74, 34];
const colours: Record<ContenderKey, string> = {
  tenantry: '#2563eb',
  express: '#64748b',
  ordinary: '#a8a29e',
  node: '#94a3b8',
};

export function drawChart({ summaries: all, machine, commit, date, settings }: Result): string {
  const summaries = all.filter(isServer);
  const parts: string[] = [];
  let y = top;
  for (const workload of new Set(summaries.map((summary) => summary.workload))) {
    const group = summaries.filter((summary) => summary.workload === workload);
    const longest = Math.max(...group.map((summary) => summary.requestsPerSecond));
    parts.push(text(16, y + 12, `${workload}: ${workloads[workload]}`, 'font-weight="600"'));
    y += 22;
    for (const summary of group) {
      parts.push(bar(summary, y, longest));
      y += barHeight + barGap;
    }
    y += groupGap - 22;
  }
  const height = y + bottom - groupGap + 22;
  const where = `${machine.cores} cores (${machine.cpu}), Node ${machine.node}, PostgreSQL ${machine.postgres}`;
  const what = `${settings.connections} connections, median of ${settings.rounds} rounds of ${settings.seconds} s`;
  const when = `${date.slice(0, 10)}, ${commit.id}${commit.dirty ? ' with changes' : ''}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="#0f172a">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(16, 24, 'Requests per second, and the multiple of A', 'font-size="16" font-weight="600"'),
    text(16, 42, `${where}.`, 'fill="#64748b" font-size="11"'),
    text(16, 57, `${what}. ${when}.`, 'fill="#64748b" font-size="11"'),
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

type ServerSummary = Summary & { contender: ContenderKey };

function isServer(summary: Summary): summary is ServerSummary {
  return summary.contender !== 'pgbench';
}

function bar({ contender, requestsPerSecond, ratio }: ServerSummary, y: number, longest: number): string {
  const length = Math.max(1, Math.round(((width - left - right) * requestsPerSecond) / longest));
  const middle = y + barHeight - 5;
  const multiple = ratio === undefined ? '' : ` (${ratio.toFixed(2)})`;
  const figure = Math.round(requestsPerSecond).toLocaleString('en');
  const weight = contender === 'tenantry' ? 'font-weight="600"' : '';
  return [
    text(left - 8, middle, labelOf(contender), `text-anchor="end" ${weight}`),
    `<rect x="${left}" y="${y}" width="${length}" height="${barHeight}" rx="2" fill="${colours[contender]}"/>`,
    text(left + length + 6, middle, `${figure}${multiple}`, weight),
  ].join('\n');
}

function text(x: number, y: number, content: string, attributes = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return `<text x="${x}" y="${y}"${attributes === '' ? '' : ` ${attributes.trim()}`}>${escaped}</text>`;
}
