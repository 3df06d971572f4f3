import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Request } from 'express';
import { AppError } from '../errors.ts';
import { type Counter, tooMany } from './rate-limit.ts';

/** Keeps passwords from being guessed: too many that are wrong, and nobody may try for a while. */
export interface LoginGuard {
  /**
   * Runs a login. Each is counted before it runs, so that many at once are no way around, and is forgiven unless its
   * credentials were wrong. Unknown tenants and accounts are counted like any other.
   *
   * @param account the tenant (or what was given for one) and the e-mail address
   * @throws AppError rate_limited, also for the right password: the answer must not tell it
   */
  attempt<T>(req: Request, account: readonly [string, string], login: () => Promise<T>): Promise<T>;
}

export interface LoginGuardOptions {
  /** Of wrong credentials for one account and from one address, within the window of their counters. */
  perAccount: { counter: Counter; max: number };
  perAddress: { counter: Counter; max: number };
}

export function createLoginGuard({ perAccount, perAddress }: LoginGuardOptions): LoginGuard {
  async function require({ counter, max }: LoginGuardOptions['perAccount'], key: string): Promise<void> {
    const { used, resetMs } = await counter.count(key);
    if (used > max) {
      throw tooMany('There were too many attempts to log in.', Math.max(1, Math.ceil(resetMs / 1000)));
    }
  }

  return {
    async attempt(req, account, login) {
      const address = networkOf(req.ip ?? '');
      // Only the hash: an address is nobody else's business, and may be long.
      const name = createHash('sha256').update(JSON.stringify(account)).digest('base64url');
      await require(perAddress, address); // first, or one address could fill the memory with accounts
      await require(perAccount, name);
      try {
        const value = await login();
        await Promise.all([perAccount.counter.forget(name), perAddress.counter.forgive(address)]);
        return value;
      } catch (error) {
        const wrong = error instanceof AppError && error.code === 'invalid_credentials';
        if (!wrong) {
          await Promise.all([perAccount.counter.forgive(name), perAddress.counter.forgive(address)]);
        }
        throw error;
      }
    },
  };
}

/** Who has one address of IPv6 has 2^64 of them: the network is what counts. */
export function networkOf(ip: string): string {
  const mapped = /^::ffff:([\d.]+)$/i.exec(ip)?.[1];
  if (mapped !== undefined || !isIPv6(ip)) return mapped ?? ip;
  const [head = '', tail] = ip.replace(/%.*$/, '').split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
