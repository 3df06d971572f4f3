import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError } from 'commander';
import type { SchemaPlan } from '../control/migrations/plan.ts';
import { type RunReport, statusOf } from '../control/migrations/report.ts';
import type { UpOptions } from '../control/migrations/runner.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';

export function migrateCommand(io: Io): Command {
  const command = new Command('migrate').description(
    'Migrate control, shared and the schema of every tenant.',
  );
  command
    .command('up')
    .description('Apply what is pending, everywhere. One tenant that fails does not stop the others.')
    .option('--parallel <n>', 'tenant schemas at the same time', positiveInteger, 4)
    .option('--json', 'print JSON')
    .action(({ parallel, json }: { parallel: number; json?: boolean }) => up(io, parallel, json ?? false));
  command
    .command('status')
    .description('Show which version the schemas are at. Exit code 3 when anything is pending.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => status(io, json ?? false));
  command
    .command('plan')
    .description('Show what up would do, in order, without doing it.')
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => plan(io, json ?? false));
  return command;
}

async function up(io: Io, parallel: number, json: boolean): Promise<void> {
  const interruption = new AbortController();
  const interrupt = () => {
    io.note('interrupted: what has begun is being finished');
    interruption.abort();
  };
  process.once('SIGINT', interrupt);
  try {
    const report = await withControl(io, (control) =>
      withProgress(io, json, (onProgress) =>
        control.runner.up({ parallel, signal: interruption.signal, onProgress }),
      ),
    );
    if (json) printJson(io, report);
    else printReport(io, report);
    if (interruption.signal.aborted) throw new Exit(exitCodes.interrupted);
    if (report.counts.failed > 0) throw new Exit(exitCodes.someFailed);
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

type OnProgress = NonNullable<UpOptions['onProgress']>;

/** A bar on a terminal, otherwise a line for each failure. */
async function withProgress<T>(
  io: Io,
  json: boolean,
  fn: (onProgress: OnProgress) => Promise<T>,
): Promise<T> {
  const bar =
    io.interactive && !json ? new SingleBar({ format: '{bar} {value}/{total} {schema}' }) : undefined;
  let begun = false;
  try {
    return await fn(({ done, total, result }) => {
      if (!begun) bar?.start(total, 0, { schema: '' });
      begun = true;
      bar?.update(done, { schema: result.schema });
      if (bar === undefined && result.outcome === 'failed') io.note(`${result.schema}: ${result.error}`);
    });
  } finally {
    bar?.stop();
  }
}

function printReport(io: Io, { results, counts, durationMs }: RunReport): void {
  const told = results.filter(({ outcome }) => outcome !== 'up-to-date');
  if (told.length > 0) {
    printTable(
      io,
      ['schema', 'outcome', 'from', 'to', 'ms', 'why'],
      told.map(({ schema, outcome, from, to, durationMs: ms, error }) => [
        schema,
        outcome,
        from ?? '-',
        to ?? '-',
        String(ms),
        error ?? '',
      ]),
    );
  }
  io.out(
    `${counts.applied} applied, ${counts['up-to-date']} up to date, ${counts.failed} failed, ${counts.skipped} skipped in ${durationMs} ms`,
  );
  if (counts.failed > 0) io.out('Run it again when the cause is mended: it takes up where this run ended.');
}

async function status(io: Io, json: boolean): Promise<void> {
  const fleet = statusOf(await withControl(io, (control) => control.runner.plan()));
  if (json) printJson(io, fleet);
  else {
    printTable(
      io,
      ['ladder', 'version', 'schemas'],
      fleet.versions.map(({ ladder, version, schemas }) => [ladder, version, String(schemas)]),
    );
    for (const { schema, pending, unknown } of fleet.outliers) {
      if (pending.length > 0) io.out(`${schema} waits for ${pending.join(', ')}`);
      if (unknown.length > 0) io.out(`${schema} is ahead of this build: ${unknown.join(', ')}`);
    }
  }
  if (fleet.pending > 0) throw new Exit(exitCodes.pending);
}

async function plan(io: Io, json: boolean): Promise<void> {
  const plans: SchemaPlan[] = await withControl(io, (control) => control.runner.plan());
  const pending = plans.filter((item) => item.pending.length > 0);
  if (json) {
    printJson(io, pending);
    return;
  }
  if (pending.length === 0) io.out(`All ${plans.length} schemas are up to date.`);
  else {
    printTable(
      io,
      ['schema', 'from', 'applies'],
      pending.map((item) => [item.schema, item.version ?? '-', item.pending.join(', ')]),
    );
  }
}

function positiveInteger(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError('A whole number from 1 to 999 is needed.');
  return Number(text);
}
