import { createReadStream } from 'node:fs';
import type { Writable } from 'node:stream';
import type { Command } from 'commander';
import { buildControlPlane, buildDataPlane } from '../build.ts';
import type { Exporter, ExportOptions } from '../control/tenants/export.ts';
import { exportToFile } from '../control/tenants/export-file.ts';
import { AppError } from '../errors.ts';
import { buildExporter } from '../transfer.ts';
import { commandKernel, withControl } from './control.ts';
import { Exit, exitCodes, type Io, printJson } from './io.ts';

/** `tenant export` and `tenant import`. */
export function addTransferCommands(command: Command, io: Io): void {
  command
    .command('export')
    .description('Write all rows of a tenant as NDJSON. The file holds password hashes: keep it safe.')
    .argument('<slug-or-id>')
    .option('--output <file>', 'there only when it is complete; - for stdout', '-')
    .option('--json', 'print what was exported as JSON, where the output is a file')
    .action((slugOrId: string, options: { output: string; json?: boolean }) =>
      exportTenant(io, slugOrId, options),
    );
  command
    .command('import')
    .description('Make a tenant from an export, all or nothing.')
    .argument('<file>', '- for stdin')
    .option('--slug <slug>', 'as exported when left out')
    .option('--name <name>', 'as exported when left out')
    .option('--isolation <kind>', 'shared or schema; as exported when left out')
    .option('--unsigned', 'from another installation: the signature is not checked, so trust the file')
    .option('--json', 'print JSON')
    .action((file: string, options: ImportFlags) => importTenant(io, file, options));
}

async function exportTenant(
  io: Io,
  slugOrId: string,
  { output, json }: { output: string; json?: boolean },
): Promise<void> {
  const taking = withExporter(io, (exporter) =>
    untilInterrupted((signal) => {
      const onProgress = progressNotes(io, 'exported');
      const take = (options: Pick<ExportOptions, 'sink' | 'primaryOnly'>) =>
        exporter.exportTenant(slugOrId.toLowerCase(), { ...options, onProgress, signal });
      return output === '-'
        ? take({ sink: toStdout(io) })
        : exportToFile(output, take, (why) => io.note(`${why} Once more, from the primary.`));
    }),
  );
  const report = await taking.catch((error: unknown) => {
    const unknown = error instanceof AppError && error.code === 'not_found';
    throw unknown ? new Exit(exitCodes.error, `There is no tenant ${slugOrId}.`) : error;
  });
  const told = `exported ${report.tenant.slug} from ${report.node}: ${report.rows} rows, ${report.bytes} bytes`;
  if (output === '-') io.note(told);
  else if (json) printJson(io, report);
  else io.out(told);
}

/** The other end may be gone before the last bytes are: `| head`. */
function toStdout(io: Io): Writable {
  return io.stdout.on('error', () => undefined);
}

interface ImportFlags {
  slug?: string;
  name?: string;
  isolation?: string;
  unsigned?: boolean;
  json?: boolean;
}

async function importTenant(io: Io, file: string, flags: ImportFlags): Promise<void> {
  const { slug, name, isolation, unsigned = false } = flags;
  if (isolation !== undefined && isolation !== 'shared' && isolation !== 'schema') {
    throw new Exit(exitCodes.usage, 'The isolation is shared or schema.');
  }
  const { tenant, rows } = await withControl(io, ({ importer }) =>
    importer.importTenant({
      source: file === '-' ? io.stdin : createReadStream(file),
      ...(slug === undefined ? {} : { slug }),
      ...(name === undefined ? {} : { name }),
      ...(isolation === undefined ? {} : { isolation }),
      unsigned,
      onProgress: progressNotes(io, 'imported'),
    }),
  );
  if (flags.json) printJson(io, { ...tenant, rows });
  else io.out(`imported ${tenant.slug} (${tenant.isolation}, ${tenant.id}): ${rows} rows`);
}

async function withExporter<T>(io: Io, fn: (exporter: Exporter) => Promise<T>): Promise<T> {
  const kernel = await commandKernel(io, 'export');
  const data = buildDataPlane(kernel);
  const control = buildControlPlane(kernel);
  try {
    await data.start();
    return await fn(buildExporter(kernel, control, data));
  } finally {
    await control.stop();
    await data.stop();
  }
}

async function untilInterrupted<T>(fn: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interruption = new AbortController();
  const interrupt = () => interruption.abort(new Exit(exitCodes.interrupted, 'interrupted'));
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    return await fn(interruption.signal);
  } catch (error) {
    throw interruption.signal.aborted ? interruption.signal.reason : error;
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** A line every other second, so that short ones say nothing. */
const noteMs = 2000;

function progressNotes(io: Io, verb: string): (progress: { table: string; rows: number }) => void {
  let lastMs = performance.now();
  return ({ table, rows }) => {
    if (performance.now() - lastMs < noteMs) return;
    lastMs = performance.now();
    io.note(`${rows} rows ${verb}, at ${table}`);
  };
}
