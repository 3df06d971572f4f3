import { AppError } from '../../errors.ts';
import type { SchemaName } from '../../db/index.ts';
import type { AppliedBySchema, Checksum } from './ledger.ts';
import type { LadderName } from './ladder.ts';
import type { Script } from './script.ts';

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

/** The step of the ladder `control` that makes what runs stand on. */
const foundation = '0007_fleet_runs';

/** Whether there can be a lease, and events, and checksums. */
export function stands([control]: readonly SchemaPlan[]): boolean {
  return control?.version !== undefined && control.version >= foundation;
}

/**
 * A step that has been applied somewhere is never edited: those who have it would differ from those who get it now.
 *
 * @throws AppError migration_refused, which names the steps
 */
export function refuseEdited(
  applied: readonly Checksum[],
  scripts: Readonly<Record<LadderName, readonly Script[]>>,
): void {
  const edited = applied.filter(({ ladder, step, checksum }) => {
    const script = scripts[ladder].find((one) => one.step === step);
    return script !== undefined && script.checksum !== checksum;
  });
  if (edited.length === 0) return;
  const words = edited.map(
    ({ ladder, step, schemas }) =>
      `migrations/${ladder}/${step} would execute something else than what was applied to ${schemas} ${schemas === 1 ? 'schema' : 'schemas'}`,
  );
  throw new AppError(
    'migration_refused',
    `${words.join('; ')}. Put it back as it was, and make the change in a new migration.`,
  );
}
