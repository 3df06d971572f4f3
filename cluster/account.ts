/**
 * Under which user the servers run. PostgreSQL refuses to run as root, so root (containers, CI) lends the work to an
 * unprivileged user; anybody else runs it as themselves.
 */
import { spawnSync } from 'node:child_process';
import { chown, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';

export interface Account {
  uid: number;
  gid: number;
}

const UNPRIVILEGED_USERS = ['postgres', 'nobody'];

/** The account for a new cluster; undefined means "as this process". */
export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) {
    requirePasswdEntry();
    return undefined;
  }
  for (const user of UNPRIVILEGED_USERS) {
    const uid = lookUp('-u', user);
    const gid = lookUp('-g', user);
    if (uid !== undefined && gid !== undefined && uid !== 0) return { uid, gid };
  }
  throw new Error(
    `PostgreSQL refuses to run as root, and there is no user named ${UNPRIVILEGED_USERS.join(' or ')} to run it as: ` +
      'create one (`useradd --system postgres`), or run this as an ordinary user.',
  );
}

/** The account an existing data directory must be served by: its owner, whom root can become. */
export async function accountOf(dataDir: string): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return serverAccount();
  const { uid, gid } = await stat(dataDir);
  return uid === 0 ? serverAccount() : { uid, gid };
}

/** Hands a file or folder that we made to the account. */
export async function giveTo(account: Account | undefined, path: string): Promise<void> {
  if (account !== undefined) await chown(path, account.uid, account.gid);
}

/**
 * May the account pass through this folder and all those above it? Asked by trying, so that access lists and mount
 * options count too.
 */
export function canEnter(account: Account | undefined, folder: string): boolean {
  if (account === undefined) return true;
  return spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], { ...account, stdio: 'ignore' }).status === 0;
}

function lookUp(which: '-u' | '-g', user: string): number | undefined {
  const { status, stdout } = spawnSync('id', [which, user], { encoding: 'utf8' });
  const id = Number.parseInt(stdout ?? '', 10);
  // `| 0`: macOS prints the uid of nobody as 4294967294, spawn wants it as -2.
  return status === 0 && Number.isInteger(id) ? id | 0 : undefined;
}

/** initdb wants a name for its user ID. Containers started with an arbitrary uid (`docker run -u`) have none. */
function requirePasswdEntry(): void {
  try {
    userInfo();
  } catch {
    throw new Error(
      `User ID ${process.getuid?.()} has no entry in /etc/passwd, and PostgreSQL needs one: add a line for it, use ` +
        'nss_wrapper, or start the container as a user that its image knows.',
    );
  }
}
