import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError } from 'commander';
import type { RunEvent } from '../control/migrations/journal.ts';
import type { Outline } from '../control/migrations/outline.ts';
import type { RunReport } from '../control/migrations/report.ts';
import type { UpOptions } from '../control/migrations/runner.ts';
import type { CanaryChoice } from '../control/migrations/waves.ts';
import { withFleet, withWatchedFleet } from './fleet.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';

interface Flags {
  parallel: number;
  canary?: CanaryChoice;
  maxFailures?: number;
  tenant?: string[];
  dryRun?: boolean;
  json?: boolean;
}

export function upCommand(io: Io): Command {
  return choosing(new Command('up'))
    .description(
      'Apply what is pending, everywhere, in waves. One tenant that fails does not stop the others.',
    )
    .option('--parallel <n>', 'schemas at the same time', positiveInteger, 4)
    .option('--max-failures <n>', 'halt when more schemas have failed (default: 10)', wholeNumber)
    .option('--dry-run', 'show what would be done, as plan does')
    .option('--json', 'print a line of JSON for each event, and the report as the last one')
    .action((flags: Flags) => (flags.dryRun === true ? plan(io, flags) : up(io, flags)));
}

export function planCommand(io: Io): Command {
  return choosing(new Command('plan'))
    .description('Show what up would do, in order, without doing it.')
    .option('--json', 'print JSON')
    .action((flags: Flags) => plan(io, flags));
}

function choosing(command: Command): Command {
  return command
    .option('--canary <n|slugs>', 'so many of the smallest tenants first, or these', canaryChoice)
    .option('--tenant <slugs...>', 'these tenants alone, beside control and shared');
}

async function up(io: Io, { parallel, canary, maxFailures, tenant, json = false }: Flags): Promise<void> {
  const interruption = new AbortController();
  const interrupt = () => {
    io.note('interrupted: what has begun is being finished');
    interruption.abort();
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    const report = await withWatchedFleet(io, ({ runner }) =>
      watching(io, json, (told) =>
        runner.up({
          ...{ parallel, canary, maxFailures, tenants: tenant, signal: interruption.signal },
          ...told,
        }),
      ),
    );
    if (json) io.out(JSON.stringify({ type: 'report', ...report }));
    else printReport(io, report);
    if (interruption.signal.aborted) throw new Exit(exitCodes.interrupted);
    if (report.counts.failed > 0 || report.status !== 'succeeded') throw new Exit(exitCodes.someFailed);
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

/** A bar on a terminal, lines of JSON, or else a line on stderr for each thing that somebody should know. */
async function watching<T>(
  io: Io,
  json: boolean,
  fn: (told: Pick<UpOptions, 'onProgress' | 'onEvent'>) => Promise<T>,
): Promise<T> {
  const format = '{bar} {value}/{total} | {wave} | {failed} failed | {eta_formatted} left';
  const bar = io.interactive && !json ? new SingleBar({ format, etaBuffer: 50 }) : undefined;
  let shown = false;
  let [wave, failed] = ['', 0];
  const say = (line: string) => {
    if (bar === undefined) io.note(line);
    else process.stderr.write(`\r\x1b[K${line}\n`);
  };
  try {
    return await fn({
      onProgress({ done, total, result }) {
        if (result.outcome === 'failed') {
          failed += 1;
          say(`${result.schema}: ${result.error}`);
        }
        if (!shown) bar?.start(total, 0, { wave, failed });
        shown = true;
        bar?.setTotal(total);
        bar?.update(done, { wave, failed });
      },
      onEvent(event) {
        if (event.type === 'wave') ({ wave } = event);
        if (json) io.out(JSON.stringify(event));
        const words = wordsFor(event);
        if (words !== undefined) say(words);
      },
    });
  } finally {
    bar?.stop();
  }
}

function wordsFor(event: RunEvent): string | undefined {
  if (event.type === 'unwell') return `waiting: ${event.reason}`;
  if (event.type === 'paused') return 'paused: tenantry migrate resume goes on';
  return undefined;
}

function printReport(io: Io, { results, counts, durationMs, status, reason }: RunReport): void {
  const told = results.filter(({ outcome }) => outcome !== 'up-to-date');
  if (told.length > 0) {
    printTable(
      io,
      ['schema', 'outcome', 'from', 'to', 'ms', 'why'],
      told.map(({ schema, outcome, from, to, durationMs: ms, error }) => [
        ...[schema, outcome, from ?? '-', to ?? '-', String(ms), error ?? ''],
      ]),
    );
  }
  io.out(
    `${counts.applied} applied, ${counts['up-to-date']} up to date, ${counts.failed} failed, ${counts.skipped} skipped in ${durationMs} ms`,
  );
  if (reason !== undefined) io.out(`The run was ${status}: ${reason}.`);
  if (status !== 'succeeded') {
    io.out('Run it again when the cause is mended: it takes up where this run ended.');
  }
}

async function plan(io: Io, { canary, tenant, json }: Flags): Promise<void> {
  const outline = await withFleet(io, ({ runner }) => runner.outline({ canary, tenants: tenant }));
  if (json === true) printJson(io, outline);
  else if (outline.pending === 0) io.out(`All ${outline.schemas} schemas are up to date.`);
  else printOutline(io, outline);
}

function printOutline(io: Io, { schemas, pending, steps, waves }: Outline): void {
  io.out(`${pending} of ${schemas} schemas have something to apply.\n`);
  printTable(
    io,
    ['wave', 'schemas', 'of them'],
    waves.map(({ name, schemas: of }) => [name, String(of.length), shortened(of)]),
  );
  for (const { ladder, step, schemas: waiting, how, contract, statements, opaque } of steps) {
    const notes = [
      how,
      `${waiting} ${waiting === 1 ? 'schema' : 'schemas'}`,
      ...(contract ? ['contract'] : []),
    ];
    io.out(`\n${ladder}/${step} (${notes.join(', ')})`);
    for (const { sql, lock } of statements) {
      io.out(`  ${sql.replaceAll(/\s+/g, ' ')}`);
      if (lock !== null) io.out(`    ${lock}`);
    }
    if (opaque !== null) io.out(`  … ${opaque}`);
  }
}

function shortened(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown}, …` : shown;
}

function positiveInteger(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 to 999 is needed.');
  return Number(text);
}

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('A whole number is needed.');
  return Number(text);
}

function canaryChoice(text: string): CanaryChoice {
  return /^\d{1,4}$/.test(text) ? Number(text) : text.split(',').filter((slug) => slug !== '');
}
