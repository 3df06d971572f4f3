import { pino } from 'pino';
import type { ControlPlane, Kernel } from '../build.ts';
import { loadConfig, type Purpose } from '../config.ts';
import type { Io } from './io.ts';

/** For commands whose stdout is data: log lines go to stderr. What serves is loaded by those alone that need it. */
export async function commandKernel(io: Io, purpose: Purpose): Promise<Kernel> {
  const config = loadConfig(io.env, purpose);
  const { createKernel } = await import('../build.ts');
  return createKernel(config, { logger: pino({ level: config.LOG_LEVEL }, pino.destination(2)) });
}

/** Lends the control plane to a command and closes its connections afterwards. */
export async function withControl<T>(io: Io, fn: (control: ControlPlane) => Promise<T>): Promise<T> {
  const { buildControlPlane } = await import('../build.ts');
  const control = buildControlPlane(await commandKernel(io, 'manage'));
  try {
    return await fn(control);
  } finally {
    await control.stop();
  }
}
