import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { AppError } from '../../errors.ts';
import type { ExportReport } from './export.ts';

/**
 * An export as a file, for its owner alone. It has another name until it is complete, so that half an export is never
 * taken for a whole one; when it fails, nothing is left.
 *
 * @param onRetry told why it is read once more, from the primary
 * @throws AppError as `take` does; Error of the file system
 */
export async function exportToFile(
  file: string,
  take: (options: { sink: Writable; primaryOnly?: boolean }) => Promise<ExportReport>,
  onRetry: (message: string) => void = () => undefined,
): Promise<ExportReport> {
  const part = `${file}.part`;
  async function attempt(primaryOnly: boolean): Promise<ExportReport> {
    const sink = createWriteStream(part, { mode: 0o600, flush: true });
    // A write that is under way when the export is given up may fail after it, and nobody else listens then.
    sink.on('error', () => undefined);
    try {
      const report = await take({ sink, primaryOnly });
      sink.end();
      await finished(sink);
      return report;
    } finally {
      sink.destroy();
    }
  }
  try {
    const report = await attempt(false).catch((error: unknown) => {
      // Nobody has seen the file yet, so what a replica gave up can be had from the primary, from the start.
      if (!(error instanceof AppError) || error.code !== 'unavailable') throw error;
      onRetry(error.message);
      return attempt(true);
    });
    await rename(part, file);
    return report;
  } finally {
    await rm(part, { force: true });
  }
}
