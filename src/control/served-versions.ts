/** Which versions of a tenant's schema this build can serve: pure. Versions are names of steps, which sort as they are applied. */

/**
 * The step of the tenant ladder without which nothing of a tenant can be served by this build: to be raised when statements
 * that were there before come to need a later one. Not for a new resource, whose own requests alone are refused until its
 * table is there (isBehind). docs/operations.md, "Deploying over a migration".
 */
export const oldestServed = '0002_credentials_and_audit';

/** As the view `control.tenant_versions` has it. */
export interface SchemaVersion {
  /** The newest step that has been applied. */
  version: string | null;
  /** The newest of the steps that builds must know to serve it. */
  needs: string | null;
}

export interface ServedRange {
  /** `oldestServed`. */
  oldest: string;
  /** The newest step of the build's own ladder. */
  newest: string;
}

/**
 * A schema without a row was made, or last migrated, by a build that did not note versions. All of those ended here, and
 * knew of no step that others must know; whoever has taken the schema further has given it its row. So it is served for as
 * long as this will do. To refuse it would refuse tenants that such a build, still running beside this one, has just made,
 * and whom nothing would mend: a run of the fleet finds nothing to do for them.
 */
const unnoted = '0002_credentials_and_audit';

export function servable(found: SchemaVersion, range: ServedRange): boolean {
  return whyNot(found, range) === undefined;
}

/** Steps of this build are still to be applied: it is served, and statements for what they make fail. */
export function isBehind({ version }: Pick<SchemaVersion, 'version'>, { newest }: ServedRange): boolean {
  return (version ?? unnoted) < newest;
}

/** Why a schema is not served, for the log; undefined when it is. */
export function whyNot(
  { version, needs }: SchemaVersion,
  { oldest, newest }: ServedRange,
): string | undefined {
  const at = version ?? unnoted;
  if (at < oldest) return `the schema is at ${at}, and this build needs ${oldest}`;
  if (needs !== null && needs > newest) {
    return `the schema is for builds that know ${needs}, and this one ends at ${newest}`;
  }
  return undefined;
}
