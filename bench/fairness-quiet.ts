import { Agent, request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type { BenchRequest } from './request.ts';

/** The quiet tenant: so many requests a second, whether or not those before have been answered. */
export interface QuietJob {
  url: string;
  requests: () => BenchRequest;
  connections: number;
  perSecond: number;
  seconds: number;
}

export interface QuietOutcome {
  /** From the moment at which a request was due, so that waiting for a free connection counts. */
  latenciesMs: number[];
  /** Not answered with 2xx, by status. */
  failed: Record<string, number>;
}

export async function askQuietly(job: QuietJob): Promise<QuietOutcome> {
  const agent = new Agent({ keepAlive: true, maxSockets: job.connections });
  const latenciesMs: number[] = [];
  const failed: Record<string, number> = {};
  const asked: Promise<void>[] = [];
  const startMs = performance.now();
  const gapMs = 1000 / job.perSecond;

  async function one(dueMs: number): Promise<void> {
    const status = await send(agent, job.url, job.requests()).catch(() => 0);
    latenciesMs.push(performance.now() - dueMs);
    if (status < 200 || status > 299) failed[status] = (failed[status] ?? 0) + 1;
  }

  for (let n = 0; n < job.seconds * job.perSecond; n += 1) {
    const dueMs = startMs + n * gapMs;
    const leftMs = dueMs - performance.now();
    if (leftMs > 0) await pause(leftMs);
    // A timer that is late is the fault of this process, not of the server.
    asked.push(one(Math.max(dueMs, performance.now())));
  }
  await Promise.all(asked);
  agent.destroy();
  return { latenciesMs, failed };
}

function send(agent: Agent, url: string, { method, path, headers, body }: BenchRequest): Promise<number> {
  return new Promise((resolve, reject) => {
    const sent = request(url + path, { method, headers, agent }, (answer) => {
      answer.resume();
      answer.once('end', () => resolve(answer.statusCode ?? 0));
      answer.once('error', reject);
    });
    sent.once('error', reject);
    sent.end(body);
  });
}
