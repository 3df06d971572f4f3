import { parseArgs } from 'node:util';
import { type ContenderKey, contenders } from './contender.ts';
import { type Workload, workloadKeys } from './workload.ts';

export interface RunOptions {
  rounds: number;
  seconds: number;
  connections: number;
  only: readonly (ContenderKey | 'pgbench')[];
  workloads: readonly Workload[];
}

const names = [...contenders.map(({ key }) => key), 'pgbench'] as const;

export const usage = `Usage: npm run bench -- [options]
  --rounds <n>        rounds, of which the median is told (3)
  --seconds <n>       per workload and contender in a round (5)
  --connections <n>   of the load generator (32)
  --only <list>       contenders, of ${names.join(',')} (all)
  --workloads <list>  of ${workloadKeys.join(',')} (all)
`;

/** Nothing and nobody left out: a result to keep. */
export function isWhole({ only, workloads }: RunOptions): boolean {
  return only.length === names.length && workloads.length === workloadKeys.length;
}

/** @throws in words for the user when an option is not one */
export function runOptions(args: readonly string[]): RunOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '5' },
      connections: { type: 'string', default: '32' },
      only: { type: 'string', default: names.join(',') },
      workloads: { type: 'string', default: workloadKeys.join(',') },
    },
  });
  return {
    rounds: positive('rounds', values.rounds),
    seconds: positive('seconds', values.seconds),
    connections: positive('connections', values.connections),
    only: list('only', values.only, names),
    workloads: list('workloads', values.workloads, workloadKeys),
  };
}

export function positive(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new Error(`--${name}: a whole number above 0 is needed`);
  return number;
}

export function list<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((part) => {
    const found = known.find((item) => item === part.trim());
    if (found === undefined) throw new Error(`--${name}: ${part} is none of ${known.join(', ')}`);
    return found;
  });
}
