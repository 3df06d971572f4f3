import type { SchemaPlan } from './plan.ts';

/** Schemas that are migrated before the next wave begins. */
export interface Wave {
  /** `canary`, `wave 1`, `wave 2`, … */
  name: string;
  schemas: readonly SchemaPlan[];
  /** A single failure halts the run: nobody else is to suffer what these have shown. */
  strict: boolean;
}

/** What the order depends on. */
export interface SchemaFacts {
  /** Tagged by an operator to go first. */
  canary: boolean;
  /** Pages of all its tables and indexes. */
  pages: number;
}

/** Either so many of the smallest, or these, by slug. By default those that are tagged. */
export type CanaryChoice = number | readonly string[];

const firstShare = 0.05;
const firstAtLeast = 4;
const growth = 4;

/** Canaries, then waves that grow, smallest tenants first. */
export function wavesOf(
  pending: readonly SchemaPlan[],
  facts: ReadonlyMap<string, SchemaFacts>,
  canary?: CanaryChoice,
): Wave[] {
  const pages = ({ schema }: SchemaPlan) => facts.get(schema)?.pages ?? 0;
  const ordered = pending.toSorted((a, b) => pages(a) - pages(b) || (a.schema < b.schema ? -1 : 1));
  const canaries = new Set(ordered.filter((item, index) => isCanary(item, index)));
  const rest = ordered.filter((item) => !canaries.has(item));

  function isCanary({ schema }: SchemaPlan, index: number): boolean {
    if (canary === undefined) return facts.get(schema)?.canary ?? false;
    return typeof canary === 'number' ? index < canary : canary.some((slug) => schema === `tenant_${slug}`);
  }

  const waves: Wave[] = [];
  if (canaries.size > 0) waves.push({ name: 'canary', schemas: [...canaries], strict: true });
  let size = Math.max(firstAtLeast, Math.ceil(rest.length * firstShare));
  for (let begin = 0, number = 1; begin < rest.length; number += 1) {
    waves.push({ name: `wave ${number}`, schemas: rest.slice(begin, begin + size), strict: false });
    begin += size;
    size *= growth;
  }
  return waves;
}
