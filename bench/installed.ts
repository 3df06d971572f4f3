import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const debian = '/usr/lib/postgresql';

/**
 * A client program of PostgreSQL, of which npm brings none: from where Debian puts it, or from the path. On Debian's path
 * lies a Perl script in front of it, which takes longer to start than psql itself.
 *
 * @returns undefined when it is not installed
 */
export async function findProgram(name: string): Promise<string | undefined> {
  const versions = existsSync(debian) ? readdirSync(debian).toSorted().toReversed() : [];
  const candidates = [...versions.map((version) => path.join(debian, version, 'bin', name)), name];
  for (const program of candidates) {
    const runs = await run(program, ['--version']).then(
      () => true,
      () => false,
    );
    if (runs) return program;
  }
  return undefined;
}
