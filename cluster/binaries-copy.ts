/**
 * A copy of the PostgreSQL programs outside of the project, for when the servers' account cannot read the project (one
 * below /root, say) or node_modules cannot be written. Kept for later runs.
 */
import { chmod, cp, lstat, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Account } from './account.ts';
import type { BinaryPackage } from './binaries.ts';
import { sharedTemporaryFolder } from './temporary.ts';

/**
 * @returns the copy's `native` folder: an existing copy when it is ours and whole, else a new one.
 * @throws when a folder of that name belongs to another user: programs out of it are not to be trusted.
 */
export async function copyForAccount(
  { native, version, platform }: BinaryPackage,
  account: Account | undefined,
  hydrate: (native: string) => Promise<boolean>,
): Promise<string> {
  const base = sharedTemporaryFolder(account);
  // With our uid in its name, users of one machine do not get into each other's way.
  const folder = join(base, `tenantry-postgres-${version}-${platform}-${process.getuid?.() ?? 0}`);
  const copy = join(folder, 'native');
  if (await isOurs(folder)) {
    if (await isWhole(native, copy)) return copy;
    await rm(folder, { recursive: true, force: true });
  }
  const draft = await mkdtemp(`${folder}.`);
  try {
    await cp(native, join(draft, 'native'), { recursive: true, verbatimSymlinks: true });
    await makeReadable(draft);
    await hydrate(join(draft, 'native'));
    await rename(draft, folder);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Another process of ours was faster; its copy is as good.
    if (!(await isOurs(folder)) || !(await isWhole(native, copy))) throw error;
  }
  return copy;
}

async function isOurs(folder: string): Promise<boolean> {
  const found = await lstat(folder).catch(() => undefined);
  if (found === undefined) return false;
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) {
    throw new Error(
      `${folder} was not made by this user, so programs in it are not run. Remove it and try again.`,
    );
  }
  return true;
}

/** Temporary folders are swept by age, file by file, so the presence of the folder proves nothing. */
async function isWhole(native: string, copy: string): Promise<boolean> {
  const [wanted, found] = await Promise.all([sizes(native), sizes(copy)]);
  return [...wanted].every(([path, size]) => found.get(path) === size);
}

async function sizes(folder: string): Promise<Map<string, number>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile());
  const found = await Promise.all(
    files.map(async (entry): Promise<[string, number]> => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length), (await lstat(path)).size];
    }),
  );
  return new Map(found);
}

/** Whatever the umask was when the package was installed: everybody may read, and run what is in `bin`. */
async function makeReadable(draft: string): Promise<void> {
  await chmod(draft, 0o755);
  const entries = await readdir(draft, { recursive: true, withFileTypes: true });
  await Promise.all(
    entries
      .filter((entry) => !entry.isSymbolicLink())
      .map((entry) => {
        const runnable = entry.isDirectory() || basename(entry.parentPath) === 'bin';
        return chmod(join(entry.parentPath, entry.name), runnable ? 0o755 : 0o644);
      }),
  );
}
