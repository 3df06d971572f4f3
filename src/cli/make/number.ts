import { readdir } from 'node:fs/promises';

/**
 * Of the next migration of a ladder, with four digits.
 *
 * @throws Error when there is no such folder: this is not a project of Tenantry
 */
export async function nextNumber(folder: string): Promise<string> {
  const files = await readdir(folder).catch(() => {
    throw new Error(`There is no folder ${folder} here. Run this at the top of the project.`);
  });
  const numbers = files.flatMap((file) => (/^\d{4}_/.test(file) ? [Number(file.slice(0, 4))] : []));
  return String(Math.max(0, ...numbers) + 1).padStart(4, '0');
}
