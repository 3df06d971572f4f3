import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { compile } from './compiled.ts';
import { contenders, readAfterWriteWindowMs } from './contender.ts';
import { type CpuProfile, type Spending, spendingOf } from './cpu-profile.ts';
import { type LoadProcess, startLoadProcess } from './load-process.ts';
import { list, positive } from './options.ts';
import { withWorld } from './world.ts';
import { workloadKeys } from './workload.ts';

/** Where the time of a server goes: one contender under one workload, with the CPU profiler of V8. */
const { values } = parseArgs({
  options: {
    workload: { type: 'string', default: 'R1' },
    contender: { type: 'string', default: 'tenantry' },
    seconds: { type: 'string', default: '10' },
    connections: { type: 'string', default: '32' },
    top: { type: 'string', default: '25' },
  },
});
const top = positive('top', values.top);
const progress = (message: string) => void process.stderr.write(`${message}\n`);

const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-profile-'));
try {
  process.stdout.write(told(await profile()));
} finally {
  await rm(folder, { recursive: true });
}

async function profile(): Promise<Spending> {
  const [key] = list(
    'contender',
    values.contender,
    contenders.map((one) => one.key),
  );
  const contender = contenders.find((one) => one.key === key);
  if (contender === undefined) throw new Error('--contender: one is needed');
  progress('Compiling');
  const compiled = await compile();
  return withWorld({ compiled, onProgress: progress }, async (world) => {
    const flags = ['--cpu-prof', '--cpu-prof-interval', '500', '--cpu-prof-dir', folder];
    const server = await contender.start(world, compiled, flags);
    const load = startLoadProcess();
    let span: Span;
    try {
      const { url } = server;
      const job = { url, dialect: contender.dialect, jwtSecret: world.jwtSecret };
      await underLoad(load, { ...job, seconds: 2, run: 'warm-up' });
      span = await underLoad(load, { ...job, seconds: positive('seconds', values.seconds), run: 'profile' });
    } finally {
      await Promise.all([server.stop(), load.stop()]); // the profile is written when the server ends
    }
    const file = (await readdir(folder)).find((name) => name.endsWith('.cpuprofile'));
    if (file === undefined) throw new Error(`${contender.label} has left no profile`);
    const text = await readFile(path.join(folder, file), 'utf8');
    return spendingOf(JSON.parse(text) as CpuProfile, span.from, span.to);
  });
}

/** Microseconds of the monotonic clock, which is the profiler's, too. */
interface Span {
  from: number;
  to: number;
}

async function underLoad(
  load: LoadProcess,
  job: { url: string; dialect: 'token' | 'path'; jwtSecret: string; seconds: number; run: string },
): Promise<Span> {
  const [workload = 'R1'] = list('workload', values.workload, workloadKeys);
  const from = nowUs();
  const { requestsPerSecond, failure } = await load.run({
    ...job,
    workload,
    connections: positive('connections', values.connections),
    windowMs: readAfterWriteWindowMs,
  });
  if (failure !== undefined) throw new Error(failure);
  progress(`${job.run}: ${Math.round(requestsPerSecond)} ${workload} requests per second under the profiler`);
  return { from, to: nowUs() };
}

function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

function told({ busy, rooms, functions }: Spending): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`.padStart(8);
  return [
    `The server was busy for ${percent(busy).trim()} of the time. Of that, by room or package:`,
    '     own   with Node and V8 on its behalf',
    ...rooms
      .filter(({ total, self }) => Math.max(total, self) >= 0.005)
      .map(({ room, self, total }) => `${percent(self)} ${percent(total)}  ${room}`),
    '',
    `The ${top} functions with most time of their own:`,
    ...functions.slice(0, top).map(({ name, room, self }) => `${percent(self)}  ${name}  (${room})`),
    '',
  ].join('\n');
}
