/** Figures in Prometheus' text format, read back. */
export interface Figures {
  /** Sum of the samples that carry all these labels; 0 when there is none. */
  sum(name: string, labels?: Record<string, string>): number;
  /** Names of the metrics, as they are declared. */
  names(): string[];
  samples(): readonly Sample[];
}

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export function readFigures(text: string): Figures {
  const samples = text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map(readSample);
  return {
    sum: (name, labels = {}) =>
      samples
        .filter((sample) => sample.name === name)
        .filter((sample) => Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
        .reduce((sum, { value }) => sum + value, 0),
    names: () => [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name ?? ''),
    samples: () => samples,
  };
}

function readSample(line: string): Sample {
  const [, name, labels = '', value] = /^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$/i.exec(line) ?? [];
  if (name === undefined) throw new Error(`This is no sample: ${line}`);
  const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text] as const);
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}
