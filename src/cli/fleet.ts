import { pino } from 'pino';
import { loadConfig } from '../config.ts';
import { buildFleet, type Fleet } from '../fleet.ts';
import type { Io } from './io.ts';

/** Lends what runs of the fleet need, and closes its connections afterwards. Log lines go to stderr. */
export async function withFleet<T>(io: Io, fn: (fleet: Fleet) => Promise<T>): Promise<T> {
  const config = loadConfig(io.env, 'manage');
  const fleet = buildFleet(config, pino({ level: config.LOG_LEVEL }, pino.destination(2)));
  try {
    return await fn(fleet);
  } finally {
    await fleet.stop();
  }
}

/** The same with an eye on the replicas, where they are known. */
export function withWatchedFleet<T>(io: Io, fn: (fleet: Fleet) => Promise<T>): Promise<T> {
  return withFleet(io, async (fleet) => {
    const watching = fleet
      .watch()
      .catch((error: Error) => io.note(`replicas are not watched: ${error.message}`));
    try {
      return await fn(fleet);
    } finally {
      await watching;
    }
  });
}
