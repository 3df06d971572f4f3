import { parseArgs } from 'node:util';
import { type Violation } from './checker.ts';
import { lineOf } from './operation.ts';
import { runHistory, type Tally } from './run.ts';
import { protections } from './sabotage.ts';

/** `npm run test:history -- --minutes 30 --seed 1 [--without check|sightings|lag]`. Exit code 1 on a violation. */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    without: { type: 'string' },
    faults: { type: 'boolean', default: false },
  },
});
const without = protections.find((protection) => protection === values.without);
if (values.without !== undefined && without === undefined) {
  throw new Error(`--without ${protections.join(' | ')}`);
}
const seed = Number(values.seed);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

say(`history: seed ${seed}, ${values.minutes} min${without === undefined ? '' : `, without ${without}`}`);
let minute = 1;
let shown = 0;
const maxShown = 20;
const tally = await runHistory({
  seed,
  lastsMs: Number(values.minutes) * 60_000,
  without,
  // Without a protection the question is how soon that is noticed.
  stopAtFirst: without !== undefined,
  onFault: (name, atMs) => values.faults && say(`${seconds(atMs)} fault: ${name}`),
  // One wrong position is seen again and again.
  onViolation: (violation, atMs) =>
    (shown += 1) <= maxShown && say(`${seconds(atMs)} VIOLATION ${describe(violation)}`),
  onProgress(sofar) {
    if (sofar.elapsedMs < minute * 60_000) return;
    minute += 1;
    say(summary(sofar));
  },
});
say(summary(tally));
say(
  [...tally.served]
    .toSorted(([, a], [, b]) => b - a)
    .map(([by, reads]) => `  ${reads} reads by ${by}`)
    .join('\n'),
);
process.exitCode = tally.violations.length > 0 ? 1 : 0;

function summary({
  elapsedMs,
  reads,
  writes,
  unknownWrites,
  failedReads,
  refused,
  faults,
  violations,
}: Tally): string {
  return (
    `${seconds(elapsedMs)}: ${reads + writes} operations (${reads} reads, ${failedReads} of them failed; ` +
    `${writes} writes, ${unknownWrites} of unknown outcome; ${refused} refused), ` +
    `${faults} faults, ${violations.length} violations`
  );
}

function describe({ rule, text, operation, earlier }: Violation): string {
  const lines = [earlier, operation].flatMap((each) => (each === undefined ? [] : [`    ${lineOf(each)}`]));
  return [`${rule}: ${text}`, ...lines].join('\n');
}
