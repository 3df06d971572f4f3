import { AppError } from '../../errors.ts';
import type { LadderName } from './ladder.ts';
import { lintLadder, objections } from './lint.ts';
import type { Script } from './script.ts';

const shown = 5;

/**
 * Lets nothing pass that lint objects to, before anything is done.
 *
 * @param warn told of rules that could not be applied on this machine; nothing is refused for it
 * @throws AppError migration_refused, which tells the first findings and where to see all
 */
export async function refuseFaulty(
  pending: Readonly<Record<LadderName, readonly Script[]>>,
  warn: (line: string) => void,
): Promise<void> {
  const lines: string[] = [];
  for (const ladder of ['control', 'tenant'] as const) {
    if (pending[ladder].length === 0) continue;
    for (const { step, rule, message } of objections(await lintLadder(pending[ladder], { ladder, warn }))) {
      lines.push(`migrations/${ladder}/${step}: ${rule}: ${message}`);
    }
  }
  if (lines.length === 0) return;
  const more = lines.length > shown ? `\n… and ${lines.length - shown} more` : '';
  throw new AppError(
    'migration_refused',
    `Nothing was migrated. Lint objects:\n${lines.slice(0, shown).join('\n')}${more}\n` +
      'tenantry migrate lint tells what to do instead, and how a migration can allow it.',
  );
}
