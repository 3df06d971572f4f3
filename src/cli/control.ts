import { buildControlPlane, type ControlPlane, createKernel } from '../build.ts';
import { loadConfig } from '../config.ts';
import type { Io } from './io.ts';

/** Lends the control plane to a command and closes its connections afterwards. */
export async function withControl<T>(io: Io, fn: (control: ControlPlane) => Promise<T>): Promise<T> {
  const control = buildControlPlane(createKernel(loadConfig(io.env, 'manage')));
  try {
    return await fn(control);
  } finally {
    await control.stop();
  }
}
