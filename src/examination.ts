import { pino } from 'pino';
import { buildControlPlane, buildDataPlane, createKernel } from './build.ts';
import type { Config } from './config.ts';
import { examine, type Finding } from './control/doctor.ts';

/** Examines the parts that the configuration names. */
export async function buildDoctor(config: Config): Promise<Finding[]> {
  const kernel = createKernel(config, { logger: pino({ level: 'silent' }) });
  const data = config.DATABASE_URL === undefined ? undefined : buildDataPlane(kernel);
  const control = config.DATABASE_ADMIN_URL === undefined ? undefined : buildControlPlane(kernel);
  try {
    const findings = await examine({ config, db: data?.db, control });
    const unset = [
      ...(data === undefined ? ['DATABASE_URL'] : []),
      ...(control === undefined ? ['DATABASE_ADMIN_URL'] : []),
    ].map((name): Finding => ({ check: name, verdict: 'warn', detail: 'is not set: not looked at' }));
    return [...unset, ...findings];
  } finally {
    await control?.stop();
    await data?.stop();
  }
}
