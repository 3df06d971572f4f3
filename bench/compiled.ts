import path from 'node:path';
import { type Compiled, compile as compileProject } from '../test/support/compiled.ts';

export type { Compiled };

/** Of Tenantry and of its opponents. */
export function compile(): Promise<Compiled> {
  const folder = path.resolve(import.meta.dirname, '../node_modules/.cache/bench/dist');
  return compileProject('bench/tsconfig.build.json', folder);
}
