import type { Exchange, Traffic } from './traffic.ts';

/** One line a second: what was answered since the last, by whom, and how the servers are. */
export interface Scoreboard {
  event(text: string): void;
  line(nodes: readonly NodeRow[]): void;
  total(): string;
}

/** Of `GET /admin/v1/cluster`. */
export interface NodeRow {
  name: string;
  state: string;
  lagMs: number | null;
}

export interface ScoreboardOptions {
  reads: Traffic;
  writes: Traffic;
  print: (line: string) => void;
}

export function createScoreboard({ reads, writes, print }: ScoreboardOptions): Scoreboard {
  const startedMs = performance.now();
  const seconds = () => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`.padStart(7);
  const shown = { reads: 0, writes: 0 };

  return {
    event(text) {
      print(`${seconds()}  ── ${text}`);
    },
    line(nodes) {
      const read = reads.done.slice(shown.reads);
      const written = writes.done.slice(shown.writes);
      shown.reads += read.length;
      shown.writes += written.length;
      const columns = [
        `reads ${split(read, 'failed')}`,
        `writes ${split(written, '503')}`,
        `by ${serversOf(read)}`.padEnd(42),
        nodes.map(stateOf).join(', '),
      ];
      print(`${seconds()}  ${columns.join(' │ ')}`);
    },
    total: () =>
      `${reads.done.length} reads, ${failed(reads.done)} failed; ${writes.done.length} writes, ` +
      `${failed(writes.done)} of them asked to come again`,
  };
}

const isOk = ({ status }: Exchange): boolean => status >= 200 && status < 300;
const failed = (exchanges: readonly Exchange[]): number => exchanges.filter((each) => !isOk(each)).length;

function split(exchanges: readonly Exchange[], badWord: string): string {
  const bad = failed(exchanges);
  return `${String(exchanges.length - bad).padStart(3)} ok ${String(bad).padStart(3)} ${badWord}`;
}

function serversOf(reads: readonly Exchange[]): string {
  const counts = new Map<string, number>();
  for (const { servedBy } of reads.filter(isOk)) {
    const node = servedBy.split(';', 1)[0] ?? '';
    counts.set(node, (counts.get(node) ?? 0) + 1);
  }
  return [...counts]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([node, count]) => `${node} ${count}`)
    .join(', ');
}

function stateOf({ name, state, lagMs }: NodeRow): string {
  return `${name} ${state}${lagMs === null ? '' : ` +${lagMs} ms`}`;
}
