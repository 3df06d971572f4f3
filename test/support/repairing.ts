import { systemClock } from '../../src/clock.ts';
import type { Finding } from '../../src/control/migrations/drift.ts';
import type { Rung } from '../../src/control/migrations/lock-ladder.ts';
import { createMigrator } from '../../src/control/migrations/migrator.ts';
import { createRepairer, type Repairer, type RepairReport } from '../../src/control/migrations/repair.ts';
import { command } from '../../src/control/tenants/service.ts';
import { createLentPool } from '../../src/db/index.ts';
import type { TestDatabase } from './database.ts';
import type { Fleet } from './fleet.ts';

/** What differs in the schema of the tenant acme, and its repair. */
export interface Repairing {
  find(): Promise<Finding[]>;
  repair(findings: readonly Finding[], repairer?: Repairer): Promise<RepairReport>;
  /** One that tries so often, and waits so long. */
  impatient(...rungs: Rung[]): Repairer;
}

/** To be called at the top of a test file, after useFleet(). */
export function useRepairing(database: TestDatabase, fleet: Fleet): Repairing {
  return {
    find: async () => (await fleet.control.drift.find({ tenants: ['acme'] })).findings,
    repair: (findings, repairer = fleet.control.repairer) => repairer.repair(findings, { author: command }),
    impatient(...rungs) {
      const adminUrl = database.env()['DATABASE_ADMIN_URL'] ?? '';
      return createRepairer({
        ...{ database: fleet.control.database, clock: systemClock },
        openMigrator: (own) => createMigrator({ adminUrl, clock: systemClock, ...own }),
        connect: (applicationName) =>
          createLentPool({ url: adminUrl, max: 1, applicationName, onError: () => undefined }),
        ladders: { lock: rungs, patient: rungs },
      });
    },
  };
}

export const wordsOf = (findings: readonly Finding[]): string[] => findings.map(({ words }) => words);
