import type { Script } from './script.ts';

/**
 * Steps that are applied together, everywhere in a wave, before the next ones are: those that fit
 * into transactions; one that must stay outside of any; one that rewrites rows.
 */
export interface Segment {
  kind: 'transaction' | 'concurrent' | 'backfill';
  scripts: readonly Script[];
}

/** @param scripts what is pending somewhere, in the order of the ladder */
export function segmentsOf(scripts: readonly Script[]): Segment[] {
  const segments: { kind: Segment['kind']; scripts: Script[] }[] = [];
  for (const script of scripts) {
    const kind = kindOf(script);
    const last = segments.at(-1);
    // What takes away is announced for itself.
    if (kind === 'transaction' && last?.kind === kind && !script.contract && !last.scripts[0]?.contract) {
      last.scripts.push(script);
    } else segments.push({ kind, scripts: [script] });
  }
  return segments;
}

function kindOf({ backfill, transactional }: Script): Segment['kind'] {
  if (backfill !== undefined) return 'backfill';
  return transactional ? 'transaction' : 'concurrent';
}
