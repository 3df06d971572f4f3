import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const root = path.resolve(import.meta.dirname, '..');
const folder = path.join(root, 'node_modules/.cache/bench/dist');
const run = promisify(execFile);

/** JavaScript of Tenantry and of its opponents, made by the compiler that makes the production build. */
export interface Compiled {
  /** @param source from the root, such as `src/main.ts` */
  program(source: string): string;
}

/** Compiles anew. Types are not checked: that is `npm run types`. @throws when the compiler cannot write a file */
export async function compile(): Promise<Compiled> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const compiler = path.join(root, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [compiler, '-p', path.join(root, 'bench/tsconfig.build.json')], { cwd: root });
  // A package's scope ends at node_modules, so the files need one of their own to be ES modules.
  await writeFile(path.join(folder, 'package.json'), '{"type":"module"}\n');
  return { program: (source) => path.join(folder, source.replace(/\.ts$/, '.js')) };
}
