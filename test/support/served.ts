import type { TestDatabase } from './database.ts';
import { type Child, builtProgram, start } from './child.ts';
import { testSecret } from './tenantry.ts';
import { until } from './until.ts';

/** `tenantry serve` as a process of its own. */
export interface Served {
  child: Child;
  tenantUrl: string;
  adminUrl: string;
}

export type LogLine = Record<string, unknown> & { msg?: string };

const operator = { email: 'operator@tenantry.test', password: 'operator of tests' };

export async function startServing(
  database: TestDatabase,
  cwd: string,
  env: Record<string, string> = {},
): Promise<Served> {
  const child = start(builtProgram(), ['serve'], {
    cwd,
    env: {
      ...database.env(),
      JWT_SECRET: testSecret,
      BCRYPT_COST: '4',
      OPERATOR_EMAIL: operator.email,
      OPERATOR_PASSWORD: operator.password,
      PORT: '0',
      ADMIN_PORT: '0',
      ...env,
    },
  });
  return { child, ...(await listening(child)) };
}

/** Resolves when the log says that both ports are open. */
export async function listening(child: Child): Promise<{ tenantUrl: string; adminUrl: string }> {
  const found = () => logLines(child).find(({ msg }) => msg === 'listening');
  await until(
    () => found() !== undefined || child.code() !== undefined,
    `the service to listen: ${child.stderr()}`,
    20_000,
  );
  const line = found();
  if (line === undefined) throw new Error(`The service ended: ${child.stderr()}`);
  return {
    tenantUrl: `http://127.0.0.1:${String(line['tenantPort'])}`,
    adminUrl: `http://127.0.0.1:${String(line['adminPort'])}`,
  };
}

/** What it has logged so far, a line each. */
export function logLines(child: Child): LogLine[] {
  return child
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as LogLine);
}
