import { expect } from '@jest/globals';
import { type Child, program, start } from './child.ts';
import { until } from './until.ts';

/** `tenantry dev`, ready. */
export interface Development {
  child: Child;
  tenantUrl: string;
  adminUrl: string;
}

/** @param cwd where its data is, or will be */
export async function startDevelopment(cwd: string, ...args: string[]): Promise<Development> {
  const env = { PORT: '0', ADMIN_PORT: '0', BCRYPT_COST: '4' };
  const child = start(program, ['dev', ...args], { cwd, env });
  const url = (name: string) => new RegExp(`${name} API +(http://\\S+)`).exec(child.stderr())?.[1];
  await until(
    () => url('admin') !== undefined || child.code() !== undefined,
    'tenantry dev to be ready',
    60_000,
  );
  if (child.code() !== undefined) throw new Error(`tenantry dev ended: ${child.stderr()}`);
  return { child, tenantUrl: url('tenant') ?? '', adminUrl: url('admin') ?? '' };
}

export async function stopDevelopment({ child }: Development, signal: NodeJS.Signals = 'SIGINT') {
  child.kill(signal);
  expect(await child.ended()).toMatchObject({ code: 0 });
}
