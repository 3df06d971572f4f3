import { controlPlane } from './admission.ts';
import type { DatabaseOptions } from './contract.ts';
import { controlUnit } from './control-database.ts';
import type { Monitor } from './monitor.ts';
import { tellStatements } from './observer.ts';
import { remedyFor } from './pg-errors.ts';
import type { Position } from './position.ts';
import { rerunning } from './rerun.ts';
import type { SchemaName } from './scope.ts';
import type { Shares } from './shares.ts';
import { readUnit, type UnitOptions } from './transaction.ts';

export interface LookUpParts extends Pick<DatabaseOptions, 'clock' | 'prepared' | 'observer' | 'poolMax'> {
  monitor: Pick<Monitor, 'views' | 'reportLost' | 'primaryTimeline'>;
  withLease: Shares['withLease'];
}

/**
 * Look-ups that requests stand upon: a primary that is lost, or whose connections are all in use, must not cost each of
 * them a time-out. What a replica does not know may be too new for it.
 */
export function createLookUp({ clock, prepared, observer = {}, poolMax, monitor, withLease }: LookUpParts) {
  return async function lookUp<Row extends object>(
    schema: SchemaName,
    text: string,
    values: readonly unknown[],
    read?: (position: Position) => void,
  ): Promise<Row[]> {
    function on(id: number, node = 'primary'): Promise<Row[]> {
      const unit: UnitOptions = {
        ...controlUnit(schema, prepared, clock, tellStatements(observer, node)),
        read(lsn) {
          const timeline = monitor.primaryTimeline();
          if (timeline !== undefined) read?.({ timeline, lsn });
        },
      };
      return withLease(id, controlPlane, (lease) =>
        // Only a prepared statement that the view has outgrown is run again.
        rerunning(() => readUnit(lease, unit, (session) => session.query<Row>(text, values))),
      );
    }
    const nodes = monitor.views();
    const primary = nodes.find(({ role }) => role === 'primary');
    const replica = nodes.find(({ role, state }) => role === 'replica' && state === 'fresh');
    const lost = primary?.state === 'down';
    let known: Row[] = [];
    if (replica !== undefined && primary !== undefined && (lost || primary.load >= poolMax)) {
      known = await on(replica.id, replica.name);
      if (known.length > 0) return known;
    }
    try {
      const asked = on(primary?.id ?? 0);
      if (replica === undefined) return await asked;
      // One that is taken for lost may have come back, and have been written to, a moment ago.
      const rows = await orWhenLate(asked, async () => (lost ? known : on(replica.id, replica.name)));
      return lost || rows.length > 0 ? rows : await asked;
    } catch (error) {
      // Lost, or busy with writes.
      const remedy = remedyFor(error, 'replica');
      if (primary !== undefined && remedy === 'node-lost') monitor.reportLost(primary.id);
      if (replica === undefined || (remedy !== 'node-lost' && remedy !== 'elsewhere')) throw error;
      return on(replica.id, replica.name);
    }
  };
}

/** How long a look-up waits for the primary before it asks a replica: a server that is cut off does not refuse. */
const patienceMs = 500;

async function orWhenLate<T>(asked: Promise<T>, otherwise: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, patienceMs);
  });
  return Promise.race([asked, late.then(otherwise)]).finally(() => clearTimeout(timer));
}
