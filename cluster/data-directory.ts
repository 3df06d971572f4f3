/** A server's files on disk: made, copied, configured. No server runs on them meanwhile. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Account, giveTo } from './account.ts';
import type { Binaries } from './binaries.ts';
import { type Following, type Settings, settingsText } from './settings.ts';
import type { Watch } from './watch.ts';

export interface Workshop {
  account: Account | undefined;
  binaries: Binaries;
  watch: Watch;
}

const SETTINGS_FILE = 'cluster.conf';
const ALTERED_FILE = 'postgresql.auto.conf'; // where ALTER SYSTEM writes
const STANDBY_SIGNAL = 'standby.signal';

/**
 * Makes a data directory with initdb, about 0.6 s. Whole or not at all: made under another name and renamed, so that an
 * initdb left over from a killed start cannot clear away its successor's work.
 */
export async function initialise(
  dataDir: string,
  password: string,
  { account, binaries, watch }: Workshop,
): Promise<void> {
  const draft = await makeDraft(dataDir, account);
  const passwordFile = `${draft}.password`;
  await writeFile(passwordFile, password, { mode: 0o600 });
  await giveTo(account, passwordFile);
  const options = [
    '-D',
    draft,
    '-U',
    'postgres',
    `--pwfile=${passwordFile}`,
    '-A',
    'scram-sha-256',
    '-E',
    'UTF8',
  ];
  const locale = ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
  try {
    await run(
      binaries.initdb,
      [...options, ...locale, '--no-sync', '--no-instructions'],
      account,
      dirname(dataDir),
      (pid) => watch.add({ pid, dataDir: draft }),
    );
  } finally {
    await rm(passwordFile, { force: true });
  }
  await appendFile(join(draft, 'postgresql.conf'), `\ninclude_if_exists = '${SETTINGS_FILE}'\n`);
  await rename(draft, dataDir);
}

/** Copies a cleanly stopped server's directory; the copy will follow it. Whole or not at all, as above. */
export async function copyAsReplica(
  primaryDir: string,
  replicaDir: string,
  account: Account | undefined,
): Promise<void> {
  const draft = await makeDraft(replicaDir, account);
  // cp, not fs.cp: run as the account it keeps owner and modes, and takes a third of the time.
  await run('cp', ['-RPp', `${primaryDir}/.`, draft], account, dirname(replicaDir));
  await chmod(draft, 0o700);
  const leftBehind = ['postmaster.pid', 'postmaster.opts', ...(await slotsIn(draft))];
  await Promise.all(leftBehind.map((name) => rm(join(draft, name), { recursive: true, force: true })));
  await writeOwned(join(draft, STANDBY_SIGNAL), '', account);
  await rm(replicaDir, { recursive: true, force: true });
  await rename(draft, replicaDir);
}

/** What a copy of a running server must not have: its log comes by streaming, the rest is of its processes. */
const EMPTIED = new Set([
  ...['pg_wal', 'pg_replslot', 'pg_dynshmem', 'pg_notify', 'pg_serial', 'pg_snapshots', 'pg_stat_tmp'],
  'pg_subtrans',
]);

/**
 * Copies the directory of a server that runs and has a backup begun; the copy will follow it. Whole or not at all, as
 * above.
 * @param endBackup called when all is copied; gives the text of `backup_label`, from which the copy knows where to begin
 */
export async function copyRunning(
  primaryDir: string,
  replicaDir: string,
  account: Account | undefined,
  endBackup: () => Promise<string>,
): Promise<void> {
  const draft = await makeDraft(replicaDir, account);
  const names = (await readdir(primaryDir)).filter(
    (name) => !EMPTIED.has(name) && !name.startsWith('postmaster.'),
  );
  await run(
    'cp',
    ['-RPp', ...names.map((name) => join(primaryDir, name)), draft],
    account,
    dirname(replicaDir),
  ).catch((error: Error) => {
    // Temporary files come and go while a server runs.
    const complaints = error.message.split('\n');
    if (!complaints.every((line) => line.endsWith('No such file or directory'))) throw error;
  });
  for (const name of EMPTIED) {
    await mkdir(join(draft, name), { mode: 0o700 });
    await giveTo(account, join(draft, name));
  }
  await writeOwned(join(draft, 'backup_label'), await endBackup(), account);
  await writeOwned(join(draft, STANDBY_SIGNAL), '', account);
  await rm(replicaDir, { recursive: true, force: true });
  await rename(draft, replicaDir);
}

/** Writes the settings. With `following`, also forgets what the faults of an earlier run have left behind. */
export async function configure(
  dataDir: string,
  settings: Settings,
  following: Following | undefined,
  account: Account | undefined,
): Promise<void> {
  await writeOwned(join(dataDir, SETTINGS_FILE), settingsText(settings, following), account);
  if (following !== undefined) await writeOwned(join(dataDir, ALTERED_FILE), '', account);
}

/** Undoes ALTER SYSTEM for one setting, whether the server runs or not. Takes effect at its next start or reload. */
export async function undoAltered(
  dataDir: string,
  setting: string,
  account: Account | undefined,
): Promise<void> {
  const file = join(dataDir, ALTERED_FILE);
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => !line.startsWith(`${setting} =`));
  await writeOwned(file, lines.join('\n'), account);
}

/** The major version of a data directory; undefined when there is none, or only a part of one. */
export async function majorOf(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, 'PG_VERSION'), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : Number.parseInt(text, 10);
}

/** False also for a replica that was promoted: that ends its following for good. */
export function isReplica(dataDir: string): boolean {
  return existsSync(join(dataDir, STANDBY_SIGNAL));
}

/** A copied slot would hold back the copy's own log for ever. */
async function slotsIn(dataDir: string): Promise<string[]> {
  return (await readdir(join(dataDir, 'pg_replslot'))).map((slot) => join('pg_replslot', slot));
}

async function makeDraft(dataDir: string, account: Account | undefined): Promise<string> {
  const draft = `${dataDir}.new-${randomBytes(4).toString('hex')}`;
  await mkdir(draft, { mode: 0o700 });
  await giveTo(account, draft);
  return draft;
}

async function writeOwned(file: string, text: string, account: Account | undefined): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
  await giveTo(account, file);
}

/** Runs a program to its end. @throws with what it wrote to stderr. */
function run(
  program: string,
  args: string[],
  account: Account | undefined,
  cwd: string,
  onStart: (pid: number) => void = () => {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { LC_ALL: 'C', TZ: 'UTC' }; // with TZ set, initdb need not search the time zone files for ours
    const child = spawn(program, args, { ...account, cwd, env, stdio: ['ignore', 'ignore', 'pipe'] });
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    child.once('spawn', () => child.pid !== undefined && onStart(child.pid));
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`${program} failed (${code}): ${complaint.trim()}`)),
    );
  });
}
