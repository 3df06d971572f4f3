import { cp, mkdtemp, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ladders = fileURLToPath(new URL('../../migrations', import.meta.url));

/**
 * The folder of a newer build: the project's ladders, and one step more for tenants, which does nothing.
 *
 * @returns to be removed by the caller
 */
export async function longerLadder(step: string): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-ladders-'));
  await cp(ladders, folder, { recursive: true });
  await writeFile(
    path.join(folder, 'tenant', `${step}.ts`),
    'export const contract = true;\nexport async function up() {}\nexport async function down() {}\n',
  );
  return folder;
}
