import { SingleBar } from 'cli-progress';
import { Command } from 'commander';
import type { ControlPlane } from '../build.ts';
import type { DriftReport } from '../control/migrations/drift.ts';
import { type Finding, saidOf } from '../control/migrations/drift/finding.ts';
import { type RepairReport, type RepairResult, repairScript } from '../control/migrations/repair.ts';
import { command as author } from '../control/tenants/service.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson } from './io.ts';

interface Options {
  tenant?: string[];
  dryRun?: boolean;
  json?: boolean;
}

export function driftCommand(io: Io): Command {
  return new Command('drift')
    .description(
      'Compare every schema with what its migrations make, and the ledgers with each other. Exit code 1 when anything differs.',
    )
    .option('--tenant <slug...>', 'only the schemas of these tenants')
    .option('--json', 'print JSON')
    .action((options: Options) => drift(io, options));
}

export function repairCommand(io: Io): Command {
  return new Command('repair')
    .description(
      'Mend what drift finds where no row can be lost or refused by it. Exit code 4 when something is left, 5 while a run over the fleet is under way.',
    )
    .option('--tenant <slug...>', 'only the schemas of these tenants')
    .option('--dry-run', 'print the SQL instead, for psql; what is to be done by hand as comments')
    .option('--json', 'print JSON')
    .action((options: Options) => repair(io, options));
}

async function drift(io: Io, options: Options): Promise<void> {
  const report = await withControl(io, (control) => find(io, control, options));
  if (options.json === true) printJson(io, report);
  else printDrift(io, report);
  if (report.findings.length > 0) throw new Exit(exitCodes.error);
}

/** With a bar on a terminal. */
async function find(io: Io, control: ControlPlane, { tenant, json }: Options): Promise<DriftReport> {
  const bar =
    io.interactive && json !== true ? new SingleBar({ format: '{bar} {value}/{total}' }) : undefined;
  let begun = false;
  try {
    return await control.drift.find({
      tenants: tenant?.map((slug) => slug.toLowerCase()),
      onProgress({ done, total }) {
        if (!begun) bar?.start(total, 0);
        begun = true;
        bar?.update(done);
      },
    });
  } finally {
    bar?.stop();
  }
}

function printDrift(io: Io, { findings, schemas, runUnderWay, durationMs }: DriftReport): void {
  for (const line of grouped(findings)) io.out(line);
  const safe = findings.filter((finding) => finding.repair === 'safe').length;
  const differing = new Set(findings.map(({ schema }) => schema)).size;
  io.out(
    findings.length === 0
      ? `No differences in ${schemas} schemas, in ${durationMs} ms`
      : `${findings.length} differences in ${differing} schemas (${schemas} compared, in ${durationMs} ms); tenantry migrate repair mends ${safe}`,
  );
  if (runUnderWay) io.note('A run over the fleet is under way: what it is at may be told as a difference.');
}

/** Schemas that are named one by one; more that say the same share a line. */
const namedAtMost = 3;

function grouped(findings: readonly Finding[]): string[] {
  const bySaid = new Map<string, Finding[]>();
  for (const finding of findings) {
    const same = bySaid.get(saidOf(finding));
    if (same === undefined) bySaid.set(saidOf(finding), [finding]);
    else same.push(finding);
  }
  return [...bySaid].flatMap(([said, same]) => {
    if (same.length <= namedAtMost) return same.map(({ words }) => words);
    const named = same.slice(0, namedAtMost).map(({ schema }) => schema);
    return [`${same.length} schemas (${named.join(', ')}, …): ${said}`];
  });
}

async function repair(io: Io, options: Options): Promise<void> {
  const { dryRun = false, json = false } = options;
  const interruption = new AbortController();
  const interrupt = () => {
    io.note('interrupted: what has begun is being finished');
    interruption.abort();
  };
  process.once('SIGINT', interrupt);
  try {
    await withControl(io, async (control) => {
      const { findings } = await find(io, control, options);
      if (dryRun) return printScript(io, findings, json);
      const report = await control.repairer.repair(findings, {
        author,
        signal: interruption.signal,
        onProgress: ({ result }) => {
          if (!json) printResult(io, result);
        },
      });
      if (json) printJson(io, report);
      else printRepair(io, report);
      if (interruption.signal.aborted) throw new Exit(exitCodes.interrupted);
      throwIfLeft(report);
    });
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

function printScript(io: Io, findings: readonly Finding[], json: boolean): void {
  if (json) printJson(io, findings);
  else for (const line of repairScript(findings)) io.out(line);
  if (findings.some((finding) => finding.repair === 'by hand')) throw new Exit(exitCodes.someFailed);
}

function printResult(io: Io, { finding, outcome, error, offenders }: RepairResult): void {
  io.out(`${outcome}: ${finding.words}${error === undefined ? '' : `: ${error}`}`);
  for (const { tenant, id } of offenders ?? []) io.out(`  stands against it: ${id} of ${tenant}`);
}

function printRepair(io: Io, { results, counts }: RepairReport): void {
  const byHand = results.filter(({ outcome }) => outcome === 'by hand').map(({ finding }) => finding);
  for (const line of repairScript(byHand)) io.out(line);
  const { mended, failed, skipped } = counts;
  io.out(`${mended} mended, ${failed} failed, ${skipped} skipped, ${byHand.length} to be done by hand`);
}

function throwIfLeft({ counts }: RepairReport): void {
  if (counts.failed + counts['by hand'] + counts.skipped > 0) throw new Exit(exitCodes.someFailed);
}
