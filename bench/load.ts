import autocannon from 'autocannon';
import { createRequests, type Dialect } from './request.ts';
import { noRouting, type Routing } from './routing.ts';
import { createMint } from './token.ts';
import { connectTo, type Workload } from './workload.ts';

/** The program of the load process: takes one job after the other from its parent and answers each with an outcome. */
export interface LoadJob {
  url: string;
  dialect: Dialect;
  jwtSecret: string;
  workload: Workload;
  seconds: number;
  connections: number;
  /** Unlike that of every other job on the same database. */
  run: string;
  windowMs: number;
}

export interface LoadOutcome {
  requestsPerSecond: number;
  /** Answers with a status of 2xx. */
  completed: number;
  /** Latencies; undefined for pgbench. */
  p50Ms: number | undefined;
  p99Ms: number | undefined;
  /** What was not answered, or not with 2xx, in words; undefined when all was well. */
  failure: string | undefined;
  /** Of RW. */
  routing: Routing | undefined;
}

async function load(job: LoadJob): Promise<LoadOutcome> {
  const requests = createRequests(job.dialect, createMint(job.jwtSecret));
  const routing = noRouting();
  const connect = connectTo(job.workload, { ...job, requests, routing });
  let connected = 0;
  const result = await autocannon({
    url: job.url,
    connections: job.connections,
    duration: job.seconds,
    setupClient(client) {
      connect(client, connected);
      connected += 1;
    },
  });
  const completed = result['2xx'];
  const { non2xx, errors, timeouts } = result;
  const bad = non2xx + errors + timeouts > 0;
  const statuses = JSON.stringify((result as { statusCodeStats?: object }).statusCodeStats ?? {});
  return {
    requestsPerSecond: completed / result.duration,
    completed,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    failure: bad
      ? `${non2xx} answers were not 2xx, ${errors} errors, ${timeouts} time-outs: ${statuses}`
      : undefined,
    routing: job.workload === 'RW' ? routing : undefined,
  };
}

process.on('message', (job: LoadJob) => {
  load(job).then(
    (outcome) => process.send?.(outcome),
    (error: Error) => {
      process.stderr.write(`${error.stack}\n`);
      process.exit(1);
    },
  );
});
process.once('disconnect', () => process.exit(0));
