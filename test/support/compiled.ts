import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const root = path.resolve(import.meta.dirname, '../..');
const run = promisify(execFile);

/** JavaScript made by the compiler that makes the production build: it starts in half the time that the source needs. */
export interface Compiled {
  /** @param source from the root, such as `src/main.ts` */
  program(source: string): string;
}

/**
 * Compiles anew. Types are not checked: that is `npm run types`.
 *
 * @param project what is compiled; its paths lie in the repository
 * @param folder of the result, which is emptied; inside the repository, for the packages are found by where it is
 * @throws when the compiler cannot write a file
 */
export async function compile(project: string, folder: string): Promise<Compiled> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const compiler = path.join(root, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [compiler, '-p', path.join(root, project), '--outDir', folder], { cwd: root });
  // A package's scope ends at node_modules, so the files need one of their own to be ES modules.
  await writeFile(path.join(folder, 'package.json'), '{"type":"module"}\n');
  return compiledIn(folder);
}

/** What `compile` has made before. */
export function compiledIn(folder: string): Compiled {
  return { program: (source) => path.join(folder, source.replace(/\.ts$/, '.js')) };
}
