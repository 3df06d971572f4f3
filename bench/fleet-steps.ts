import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { compiledIn } from '../test/support/compiled.ts';
import { scriptOf } from '../src/control/migrations/script.ts';
import type { Compiled } from './compiled.ts';
import { changeOf } from './fleet-change.ts';

/** Where contenders find the steps that they are to apply. */
export interface FleetSteps {
  /** A newer build: a copy whose ladder gets steps that the build which serves does not know. */
  newer: Compiled;
  /** The folder of the plain loop, which has a ledger of its own beside that of the ladders. */
  loop: string;
  /** A step more for Tenantry. @returns its name */
  addToLadder(key: string): Promise<string>;
  /** The same for the plain loop. */
  addToLoop(key: string): Promise<void>;
}

/** @param compiled lies inside the repository, and so must the copy: packages are found by where it is */
export async function createSteps(compiled: Compiled): Promise<FleetSteps> {
  const copy = path.join(path.dirname(compiled.program('.')), 'newer');
  const loop = path.join(copy, 'loop');
  await rm(copy, { recursive: true, force: true });
  await cp(compiled.program('.'), copy, { recursive: true });
  await mkdir(loop);
  const newer = compiledIn(copy);
  const change = pathToFileURL(newer.program('bench/fleet-change.ts')).href;
  const text = (key: string) =>
    `import { changeOf } from '${change}';\nexport const { up, down } = changeOf('${key}');\n`;
  let steps = 0;
  const nameOf = (key: string) => {
    steps += 1;
    return `${9000 + steps}_${key}`; // after all steps of the project
  };
  return {
    newer,
    loop,
    async addToLadder(key) {
      const step = nameOf(key);
      await writeFile(newer.program(`migrations/tenant/${step}.ts`), text(key));
      return step;
    },
    addToLoop: (key) => writeFile(path.join(loop, `${nameOf(key)}.mjs`), text(key)),
  };
}

/** The statements of a step, for whoever has no knex. */
export async function sqlOf(key: string): Promise<string[]> {
  const { statements, opaque } = await scriptOf(key, changeOf(key));
  if (opaque !== undefined || statements.some(({ bindings }) => bindings.length > 0)) {
    throw new Error('The statements of the change cannot be written down');
  }
  return statements.map(({ sql }) => sql);
}
