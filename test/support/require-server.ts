import { execFileSync } from 'node:child_process';
import { describe, it } from '@jest/globals';

/** Servers beside PostgreSQL that some suites need, and the programs that they are. */
const programs = { redis: 'redis-server', pgbouncer: 'pgbouncer' } as const;

/** Where Debian puts what only administrators start. */
const folders = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`;

/**
 * As describe(), for tests that need a server which is not an npm package. Where it is not installed they are skipped, in
 * one line that says so; `TEST_REQUIRE=redis,pgbouncer` makes that a failure.
 */
export function describeWith(
  server: keyof typeof programs,
  name: string,
  fn: (program: string) => void,
): void {
  const program = find(programs[server]);
  if (program !== undefined) {
    describe(name, () => fn(program));
  } else if ((process.env['TEST_REQUIRE'] ?? '').split(',').includes(server)) {
    it(`${name}: ${programs[server]} is installed`, () => {
      throw new Error(`TEST_REQUIRE names ${server}, and ${programs[server]} is not on PATH`);
    });
  } else {
    process.stderr.write(`skipped, because ${programs[server]} is not installed: ${name}\n`);
    describe.skip(name, () => it('needs a server that is not installed', () => undefined));
  }
}

function find(program: string): string | undefined {
  try {
    return execFileSync('/bin/sh', ['-c', `command -v ${program}`], {
      encoding: 'utf8',
      env: { PATH: folders },
    }).trim();
  } catch {
    return undefined;
  }
}
