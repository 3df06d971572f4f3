import os from 'node:os';
import { v7 as uuidv7 } from 'uuid';
import { type Lease, type LeaseParts, takeLease } from './lease.ts';
import { beginRun, insertRun, type RunChoices, setStatus } from './runs.ts';

/** Who holds the lease, for others to see. */
export const holderHere = () => `${os.hostname()} pid ${process.pid}`;

/**
 * Work on the fleet beside a migration, which must not meet one: it holds the lease, and stands among the runs.
 *
 * @param fn returns whether all went well
 * @throws AppError run_under_way; what `fn` throws
 */
export async function withBriefRun(
  parts: LeaseParts,
  asked: { options: RunChoices; requestedBy: string },
  fn: (lease: Lease) => Promise<boolean>,
): Promise<void> {
  const { database } = parts;
  const run = uuidv7();
  const lease = await takeLease(parts, run, holderHere());
  try {
    await database.write(async (session) => {
      await insertRun(session, { id: run, ...asked });
      await beginRun(session, run);
    });
    let well = false;
    try {
      well = await fn(lease);
    } finally {
      await database.write((session) => setStatus(session, run, well ? 'succeeded' : 'failed', null));
    }
  } finally {
    await lease.release();
  }
}
