import { pino } from 'pino';
import { buildControlPlane, buildDataPlane, type ControlPlane, createKernel, type Kernel } from '../build.ts';
import { loadConfig, type Purpose } from '../config.ts';
import type { Io } from './io.ts';

/** For commands whose stdout is data: log lines go to stderr. */
export function commandKernel(io: Io, purpose: Purpose, level?: 'error'): Kernel {
  const config = loadConfig(io.env, purpose);
  return createKernel(config, { logger: pino({ level: level ?? config.LOG_LEVEL }, pino.destination(2)) });
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

/** As withControl(), and with the nodes of the data plane where they are known: how far replicas are behind. */
export async function withServedControl<T>(io: Io, fn: (control: ControlPlane) => Promise<T>): Promise<T> {
  const kernel = commandKernel(io, 'manage', 'error'); // that replicas are found is no news here
  if (kernel.config.DATABASE_URL === undefined || kernel.config.DATABASE_REPLICA_URLS.length === 0) {
    return withControl(io, fn);
  }
  const data = buildDataPlane(kernel);
  const control = buildControlPlane(kernel, undefined, data);
  const watching = data.db
    .start()
    .catch((error: Error) => io.note(`replicas are not watched: ${error.message}`));
  try {
    return await fn(control);
  } finally {
    await watching;
    await control.stop();
    await data.stop();
  }
}
