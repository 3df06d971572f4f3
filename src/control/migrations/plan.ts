import type { SchemaName } from '../../db/index.ts';
import type { AppliedBySchema } from './ledger.ts';
import type { LadderName } from './ladder.ts';

/** Who needs what: pure, from the ledger and the steps of the two ladders. */
export interface SchemaPlan {
  schema: SchemaName;
  ladder: LadderName;
  /** The newest migration applied; undefined for none. */
  version: string | undefined;
  /** In the order they will be applied. */
  pending: string[];
  /** Applied there, but not known here: the schema is ahead of this build. */
  unknown: string[];
}

export function planFleet(
  fleet: AppliedBySchema,
  steps: Readonly<Record<LadderName, readonly string[]>>,
): SchemaPlan[] {
  return fleet.schemas.map((schema) => {
    const ladder: LadderName = schema === 'control' ? 'control' : 'tenant';
    const applied = fleet.applied.get(schema) ?? [];
    return {
      schema,
      ladder,
      version: applied.at(-1),
      pending: steps[ladder].filter((step) => !applied.includes(step)),
      unknown: applied.filter((step) => !steps[ladder].includes(step)),
    };
  });
}
