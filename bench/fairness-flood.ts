import autocannon from 'autocannon';

/** The program of the flood: a tenant whose clients ask for the dearest thing there is, as fast as they are answered. */
export interface FloodJob {
  url: string;
  token: string;
  path: string;
  connections: number;
  seconds: number;
}

export interface FloodOutcome {
  /** Answers by status. */
  statuses: Record<string, number>;
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
}

process.on('message', ({ url, token, path, connections, seconds }: FloodJob) => {
  const statuses: Record<string, number> = {};
  const instance = autocannon(
    {
      url: url + path,
      connections,
      duration: seconds,
      headers: { authorization: `Bearer ${token}` },
    },
    (error: unknown, result) => {
      if (error) throw error;
      const outcome: FloodOutcome = {
        statuses,
        requestsPerSecond: (statuses['200'] ?? 0) / result.duration,
        p50Ms: result.latency.p50,
        p99Ms: result.latency.p99,
      };
      process.send?.(outcome);
    },
  );
  instance.on('response', (_client, status) => {
    statuses[status] = (statuses[status] ?? 0) + 1;
  });
});
process.once('disconnect', () => process.exit(0));
