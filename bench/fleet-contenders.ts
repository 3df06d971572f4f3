import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { runFleet, told } from './fleet-run.ts';
import { type FleetSteps, sqlOf } from './fleet-steps.ts';
import { findProgram } from './installed.ts';
import { runTimed } from './timed-process.ts';
import type { World } from './world.ts';

/** Who migrates the fleet: Tenantry, and what people write instead of it. */
export interface FleetContender {
  key: 'tenantry' | 'loop' | 'psql';
  label: string;
  /**
   * Puts the change where it is looked for. Not measured.
   *
   * @param key of the change
   * @returns applies it everywhere
   */
  prepare(key: string): Promise<() => Promise<Took>>;
}

/** From the start of the process, or of the first of them, to the end. */
export interface Took {
  ms: number;
  /** Undefined where nobody counts it. */
  cpuMs: number | undefined;
}

interface Parts {
  world: World;
  steps: FleetSteps;
  parallel: number;
  /** For files. */
  folder: string;
  /** All that are migrated: `shared`, and those of the tenants. */
  schemas: readonly string[];
}

/** psql is left out where there is none, and where xargs is not GNU's. */
export async function fleetContenders(parts: Parts): Promise<FleetContender[]> {
  const list = path.join(parts.folder, 'schemas');
  await writeFile(list, `${parts.schemas.join('\n')}\n`);
  const [psql, xargs] = [await findProgram('psql'), await findProgram('xargs')];
  return [
    tenantry(parts),
    loop(parts, list),
    ...(psql === undefined || xargs === undefined ? [] : [psqlPerSchema(parts, psql, list)]),
  ];
}

function tenantry({ world, steps, parallel, schemas }: Parts): FleetContender {
  return {
    key: 'tenantry',
    label: 'tenantry migrate up',
    async prepare(key) {
      await steps.addToLadder(key);
      return async () => {
        const { report, timed } = await runFleet(world, steps.newer, { parallel });
        if (report.counts.applied !== schemas.length) throw new Error(told(report));
        return timed;
      };
    },
  };
}

/** Its ledger is its own, so that neither sees what the other has applied. */
function loop({ world, steps }: Parts, list: string): FleetContender {
  return {
    key: 'loop',
    label: 'A: knex.migrate.latest',
    async prepare(key) {
      await steps.addToLoop(key);
      return async () => {
        const args = [world.ownerUrl, steps.loop, list];
        const timed = await runTimed(steps.newer, 'bench/opponents/knex-loop.ts', args, {});
        if (timed.exitCode !== 0) throw new Error(timed.stderr);
        return timed;
      };
    },
  };
}

/** The floor: the same statements in one message and one transaction, a process for each schema, no ledger of any kind. */
function psqlPerSchema({ world, parallel }: Parts, psql: string, list: string): FleetContender {
  return {
    key: 'psql',
    label: 'B: psql',
    async prepare(key) {
      const schema = '%schema%';
      const sql = ['begin', `set local search_path = "${schema}", pg_temp`, ...(await sqlOf(key)), 'commit'];
      const flags = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-c', sql.join(';\n'), world.ownerUrl];
      return async () => {
        const startedMs = performance.now();
        const child = spawn('xargs', ['-a', list, '-P', String(parallel), '-I', schema, psql, ...flags], {
          stdio: ['ignore', 'ignore', 'inherit'],
        });
        const [code] = (await once(child, 'exit')) as [number | null];
        if (code !== 0) throw new Error(`xargs ended with ${code}`);
        return { ms: performance.now() - startedMs, cpuMs: undefined };
      };
    },
  };
}
