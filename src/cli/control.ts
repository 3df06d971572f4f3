import { pino } from 'pino';
import { buildControlPlane, type ControlPlane, createKernel, type Kernel } from '../build.ts';
import { loadConfig, type Purpose } from '../config.ts';
import type { Io } from './io.ts';

/** For commands whose stdout is data: log lines go to stderr. */
export function commandKernel(io: Io, purpose: Purpose): Kernel {
  const config = loadConfig(io.env, purpose);
  return createKernel(config, { logger: pino({ level: config.LOG_LEVEL }, pino.destination(2)) });
}

/** Lends the control plane to a command and closes its connections afterwards. */
export async function withControl<T>(io: Io, fn: (control: ControlPlane) => Promise<T>): Promise<T> {
  const control = buildControlPlane(commandKernel(io, 'manage'));
  try {
    return await fn(control);
  } finally {
    await control.stop();
  }
}
