import { Pool } from 'pg';

/** What a library is given that wants a pool of node-postgres itself; nothing of ours looks after what it does with it. */
export interface LentPool {
  readonly pool: Pool;
  /** Waits for what is still in use, a second at most. */
  end(): Promise<void>;
}

const patienceMs = 1000;

/** @param onError told of connections that are lost; without a listener, for as long as they live, that would end the process */
export function createLentPool(options: {
  url: string;
  max: number;
  applicationName: string;
  onError: (error: Error) => void;
}): LentPool {
  const pool = new Pool({
    connectionString: options.url,
    max: options.max,
    application_name: options.applicationName,
    connectionTimeoutMillis: 5000,
    keepAlive: true,
  });
  let ending = false;
  pool.on('error', (error) => {
    if (!ending) options.onError(error);
  });
  pool.on('connect', (client) => client.on('error', () => undefined));
  return {
    pool,
    async end() {
      ending = true;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, patienceMs);
      });
      await Promise.race([pool.end(), late]).finally(() => clearTimeout(timer));
    },
  };
}
