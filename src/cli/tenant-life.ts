import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { SingleBar } from 'cli-progress';
import { Command } from 'commander';
import type { ControlPlane } from '../build.ts';
import { ConfigError, loadConfig, missingSigner } from '../config.ts';
import type { JobView } from '../control/jobs/job.ts';
import { purgeTenantSchema, type TenantView } from '../control/tenants/schema.ts';
import { withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson, printTable } from './io.ts';

/** The verbs that move a tenant through its life. @param print shows a tenant to a person */
export function lifeCommands(io: Io, print: (tenant: TenantView) => void): Command[] {
  const moves = [
    ['suspend', 'Refuse its requests with 403, from within a second on. Nothing is deleted.'],
    ['resume', 'Serve a suspended tenant again.'],
    ['delete', 'Serve it no more, as if there were no such tenant. It can be restored until it is purged.'],
    ['restore', 'Undo a deletion: it is what it was.'],
  ] as const;
  return [
    ...moves.map(([action, about]) =>
      new Command(action)
        .description(about)
        .argument('<slug-or-id>')
        .option('--json', 'print JSON')
        .action(async (slugOrId: string, { json }: { json?: boolean }) => {
          const tenant = await withControl(io, ({ tenants }) =>
            tenants.change(slugOrId.toLowerCase(), action),
          );
          if (json) printJson(io, tenant);
          else print(tenant);
        }),
    ),
    new Command('purge')
      .description('Delete all rows of a deleted tenant, for good, as a job; with a certificate.')
      .argument('<slug-or-id>')
      .option('--dry-run', 'only tell what would be deleted')
      .option('--force', 'do not wait for the end of the retention')
      .option('--reason <text>', 'why it is forced')
      .option('--wait', 'run the job in this process and wait for its end; otherwise a service runs it')
      .option('--certificate <file>', 'with --wait: where to put the certificate')
      .option('--json', 'print JSON')
      .action((slugOrId: string, options: PurgeOptions) => purge(io, slugOrId.toLowerCase(), options)),
    new Command('verify-purge')
      .description(
        'Check a certificate: its signature, and that the database still holds nothing of the tenant.',
      )
      .argument('<file>')
      .option('--json', 'print JSON')
      .action((file: string, { json }: { json?: boolean }) => verifyPurge(io, file, json ?? false)),
  ];
}

interface PurgeOptions {
  dryRun?: boolean;
  force?: boolean;
  reason?: string;
  wait?: boolean;
  certificate?: string;
  json?: boolean;
}

async function purge(io: Io, slugOrId: string, options: PurgeOptions): Promise<void> {
  const { dryRun = false, force = false, reason, wait = false, certificate, json = false } = options;
  if (certificate !== undefined && !wait) throw new Exit(exitCodes.usage, '--certificate belongs to --wait.');
  const input = purgeTenantSchema.safeParse({ dryRun, force, ...(reason === undefined ? {} : { reason }) });
  if (!input.success) {
    throw new Exit(exitCodes.usage, input.error.issues.map(({ message }) => message).join('\n'));
  }
  // Before anything has happened: certificates are signed.
  if (wait) {
    const { JWT_SECRET, JWT_KEYS } = loadConfig(io.env, 'manage');
    if (JWT_SECRET === undefined && JWT_KEYS === undefined) throw new ConfigError([missingSigner]);
  }
  await withControl(io, async (control) => {
    if (dryRun) {
      await estimate(io, control, slugOrId, json);
      return;
    }
    const requested = await control.purges.request(slugOrId, input.data);
    const job = wait ? await untilEnded(io, control, requested, json) : requested;
    if (certificate !== undefined && job.status === 'succeeded') {
      await writeFile(certificate, `${JSON.stringify(job.result, null, 2)}\n`);
    }
    if (json) printJson(io, job);
    else printJob(io, job);
    if (wait && job.status !== 'succeeded') throw new Exit(exitCodes.error);
  });
}

async function estimate(io: Io, control: ControlPlane, slugOrId: string, json: boolean): Promise<void> {
  const found = await control.purges.estimate(slugOrId);
  if (json) {
    printJson(io, found);
    return;
  }
  const lines = found.tables.map(({ place, rows, bytes }) => [place, String(rows), String(bytes)]);
  printTable(io, ['table', 'rows', 'bytes, about'], lines);
  io.out(`${found.rows} rows, about ${found.bytes} bytes`);
}

const lookAgainMs = 200;

/** Runs jobs here until this one has ended, whoever does it. */
export async function untilEnded(
  io: Io,
  control: ControlPlane,
  begun: JobView,
  json: boolean,
): Promise<JobView> {
  const interruption = new AbortController();
  const interrupt = () => interruption.abort();
  process.once('SIGINT', interrupt);
  const bar = io.interactive && !json ? new SingleBar({ format: '{bar} {value}/{total} {unit}' }) : undefined;
  bar?.start(0, 0, { unit: '' });
  control.worker.start();
  try {
    for (let job = begun; ; job = await control.jobs.get(job.id)) {
      const { done, total, unit } = job.progress;
      bar?.setTotal(total ?? 0);
      bar?.update(done, { unit: unit ?? '' });
      if (job.finishedAt !== null) return job;
      if (interruption.signal.aborted) {
        throw new Exit(exitCodes.interrupted, `interrupted: the job ${job.id} waits for a service to run it`);
      }
      await pause(lookAgainMs);
    }
  } finally {
    bar?.stop();
    process.removeListener('SIGINT', interrupt);
  }
}

export function printJob(io: Io, { id, kind, status, progress, error, result }: JobView): void {
  io.out(
    `${kind} ${id}: ${status}, ${progress.done} ${progress.unit ?? ''}${error === null ? '' : `; ${error}`}`,
  );
  if (result !== null) printJson(io, result);
}

/** Takes a certificate, or the job that has it as its result. */
async function verifyPurge(io: Io, file: string, json: boolean): Promise<void> {
  let given: unknown;
  try {
    given = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new Exit(exitCodes.usage, `${file} cannot be read as JSON: ${(error as Error).message}`);
  }
  const { result } = (given ?? {}) as { result?: unknown };
  const faults = await withControl(io, ({ purges }) => purges.verify(result ?? given));
  if (json) printJson(io, { valid: faults.length === 0, faults });
  else if (faults.length === 0) {
    io.out('The certificate is genuine, and the database holds nothing of the tenant.');
  }
  if (faults.length > 0) throw new Exit(exitCodes.error, json ? '' : faults.join('\n'));
}
