/** Where things are put that the servers' account must reach when the project's own folder will not do. */
import { tmpdir } from 'node:os';
import { type Account, canEnter } from './account.ts';

/** @throws when the account can enter no temporary folder at all. */
export function sharedTemporaryFolder(account: Account | undefined): string {
  const candidates = [tmpdir(), '/tmp', '/var/tmp'];
  const folder = candidates.find((candidate) => canEnter(account, candidate));
  if (folder === undefined) {
    throw new Error(
      `User ID ${account?.uid} can enter none of ${candidates.join(', ')}: set TMPDIR to a shared folder.`,
    );
  }
  return folder;
}
