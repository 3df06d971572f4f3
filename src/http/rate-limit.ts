import type { Response } from 'express';
import type { Tenant } from '../db/index.ts';
import { AppError } from '../errors.ts';

/** Counts under a key, within a window that begins with the first count and then ends as a whole. */
export interface Counter {
  /** Counts one more. Never rejects. */
  count(key: string): Promise<Counted>;
  /** Takes one back. */
  forgive(key: string): Promise<void>;
  /** Begins anew. */
  forget(key: string): Promise<void>;
}

export interface Counted {
  /** With the one that has just been counted. */
  used: number;
  /** Until the window ends, milliseconds. */
  resetMs: number;
}

/** What a tenant's plan allows per minute and at once. */
export interface TenantLimiter {
  /**
   * Counts a request, and tells the client in `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers)
   * what is left.
   *
   * @returns undefined, at once, for a tenant without such a limit
   * @throws AppError rate_limited
   */
  enter(tenant: Tenant, res: Response): Promise<void> | undefined;
}

/** Of the requests per minute. */
export const windowS = 60;

/** @param counter of windows of `windowS`, shared between processes or not; requests at once are counted here */
export function createTenantLimiter(counter: Counter): TenantLimiter {
  const atOnce = new Map<string, number>();

  /** The request ends with its answer, or with its connection. */
  function begin(id: string, res: Response): number {
    const running = (atOnce.get(id) ?? 0) + 1;
    atOnce.set(id, running);
    res.once('close', () => {
      const left = (atOnce.get(id) ?? 1) - 1;
      if (left === 0) atOnce.delete(id);
      else atOnce.set(id, left);
    });
    return running;
  }

  async function enter(id: string, perMinute: number | undefined, most: number | undefined, res: Response) {
    const policies: string[] = [];
    const states: string[] = [];
    const tell = () => {
      res.setHeader('RateLimit-Policy', policies.join(', '));
      res.setHeader('RateLimit', states.join(', '));
    };
    if (most !== undefined) {
      const running = begin(id, res);
      policies.push(`"concurrent";q=${most};qu="concurrent-requests"`);
      states.push(`"concurrent";r=${Math.max(0, most - running)}`);
      tell();
      if (running > most) throw tooMany(`This tenant may have ${most} requests under way at once.`, 1);
    }
    if (perMinute !== undefined) {
      const { used, resetMs } = await counter.count(id);
      const resetS = Math.max(1, Math.ceil(resetMs / 1000));
      policies.unshift(`"default";q=${perMinute};w=${windowS}`);
      states.unshift(`"default";r=${Math.max(0, perMinute - used)};t=${resetS}`);
      tell();
      if (used > perMinute) throw tooMany(`This tenant may send ${perMinute} requests a minute.`, resetS);
    }
  }

  return {
    enter({ id, limits }, res) {
      if (limits === undefined) return undefined;
      const { requestsPerMinute, concurrentRequests } = limits;
      if (requestsPerMinute === undefined && concurrentRequests === undefined) return undefined;
      return enter(id, requestsPerMinute, concurrentRequests, res);
    },
  };
}

export function tooMany(detail: string, retryAfterS: number): AppError {
  return new AppError('rate_limited', detail, { retryAfterS });
}
