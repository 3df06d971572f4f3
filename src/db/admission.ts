import type { Clock } from '../clock.ts';
import { unavailable } from '../errors.ts';
import type { TenantScope } from './scope.ts';

/**
 * Who gets the next connection of a node. While connections are free, whoever comes takes one. When they are not, units
 * of work wait per tenant, and the tenant goes first that has held the fewest connections lately. What is counted is the
 * time for which connections are held, not requests: a tenant with few slow statements and one with many quick ones get
 * the same share of the database.
 *
 * Two things keep a quiet tenant from waiting for somebody else's slow statement to end, which no order of a queue can:
 *
 * - A tenant takes a connection only while it holds less than `alpha` times those that are free ("dynamic threshold",
 *   Choudhury and Hahne 1998). Of ten connections one tenant alone gets eight, two get four each, and there is always
 *   one for a tenant that has none. More connections than that would not make PostgreSQL faster on the usual number of
 *   cores; of fewer than five connections nothing is kept free.
 * - One connection of five or more is for look-ups of the control plane, which every request of every tenant needs.
 */
export interface Admission {
  /** @returns undefined when the unit has to wait; nobody has been counted then */
  enter(who: string): Place | undefined;
  /**
   * @returns a place, to be left like any other
   * @throws AppError unavailable when too many wait, or the wait took too long
   */
  wait(who: string): Promise<Place>;
  /** Gives the connection back. To be called once per place. */
  leave(place: Place): void;
  figures(): AdmissionFigures;
}

/** The right to one connection. Belongs to `who`, not to a unit of work, so that entering makes no garbage. */
export type Place = object;

export interface AdmissionFigures {
  /** Units of work that wait at this moment. */
  waiting: number;
  /** Units of work that had to wait. */
  waited: number;
  /** Units of work that were refused, at once or after their wait. */
  refused: number;
}

export interface AdmissionOptions {
  /** Connections of the node. */
  max: number;
  clock: Clock;
  /** A unit of work that has waited for this long is refused. */
  patienceMs: number;
  /** Units of work that wait at most, of all tenants. Default 100 per connection. */
  maxWaiting?: number;
  /** Of one tenant. Default half of all. */
  maxWaitingEach?: number;
}

/** The tenant; its logins have a share of their own, so that its own flood does not keep its users out. */
export function accountOf({ tenant, actor }: TenantScope): string {
  return actor.kind === 'session' ? `${tenant.id} logins` : tenant.id;
}

/** Look-ups of the control plane: they may take the last connection, and nobody goes before them. */
export const controlPlane = 'control';

const alpha = 4;
/** The time over which "lately" reaches back: what was held longer ago has faded to a third. */
const memoryMs = 2000;
/**
 * Having held all connections of the node puts a tenant back as if it had come this much later, and having held a part of
 * them by that part: large, so that shares are strict, and finite, so that newcomers cannot keep a tenant waiting for ever
 * (what it has held fades while it waits: 2.7 s at the worst).
 */
const handicapMs = 10_000;
/** Tenants remembered before those without any load are forgotten. */
const sweepFrom = 1000;

interface Waiting {
  sinceMs: number;
  grant(place: Place): void;
  refuse(error: Error): void;
}

/** Of one tenant on one node. */
interface Account {
  readonly who: string;
  /** Connections held now. */
  held: number;
  /** Connections held on average lately, as of `asOfMs`. */
  load: number;
  asOfMs: number;
  /** When the last waiting unit was let in. */
  grantedAtMs: number;
  /** First come, first served. */
  readonly queue: Set<Waiting>;
}

export function createAdmission(options: AdmissionOptions): Admission {
  const { max, clock, patienceMs } = options;
  const maxWaiting = options.maxWaiting ?? 100 * max;
  const maxWaitingEach = options.maxWaitingEach ?? Math.ceil(maxWaiting / 2);
  const kept = max >= 5 ? 1 : 0;
  const accounts = new Map<string, Account>();
  const queued = new Set<Account>();
  let sweepAt = sweepFrom;
  let held = 0;
  let waiting = 0;
  let waited = 0;
  let refused = 0;
  let grantedAtMs = -Infinity;

  function accountOf(who: string): Account {
    let account = accounts.get(who);
    if (account === undefined) {
      if (accounts.size >= sweepAt) sweep();
      account = { who, held: 0, load: 0, asOfMs: 0, grantedAtMs: -Infinity, queue: new Set() };
      accounts.set(who, account);
    }
    return account;
  }

  function sweep(): void {
    for (const account of accounts.values()) {
      settle(account, clock.monotonicMs());
      if (account.held === 0 && account.queue.size === 0 && account.load < 0.01) accounts.delete(account.who);
    }
    sweepAt = Math.max(sweepFrom, 2 * accounts.size);
  }

  function mayTake(account: Account): boolean {
    if (account.who === controlPlane) return held < max;
    const free = max - kept - held;
    return free > 0 && account.held < alpha * free;
  }

  function take(account: Account, nowMs: number): Place {
    settle(account, nowMs);
    account.held += 1;
    held += 1;
    return account;
  }

  /** Lets in whoever may, best first. */
  function admit(): void {
    while (waiting > 0 && held < max) {
      const nowMs = clock.monotonicMs();
      const next = first(nowMs);
      const [unit] = next?.queue ?? [];
      if (next === undefined || unit === undefined) return;
      remove(next, unit);
      next.grantedAtMs = nowMs;
      grantedAtMs = nowMs;
      unit.grant(take(next, nowMs));
    }
  }

  function first(nowMs: number): Account | undefined {
    let best: Account | undefined;
    let bestRank = Infinity;
    for (const account of queued) {
      if (!mayTake(account)) continue;
      const rank = rankOf(account, nowMs, handicapMs / max);
      if (rank < bestRank) [best, bestRank] = [account, rank];
    }
    return best;
  }

  function remove(account: Account, unit: Waiting): void {
    if (!account.queue.delete(unit)) return;
    waiting -= 1;
    if (account.queue.size === 0) queued.delete(account);
  }

  /**
   * When nobody has been let in since, the node is stuck rather than busy, and the unit may have more luck with another
   * one: that is what `pg-errors.ts` takes the cause for. A tenant that merely asks for too much must not flood the next
   * node as well.
   */
  function refusal(sinceMs: number): Error {
    refused += 1;
    const stuck = grantedAtMs < sinceMs;
    return unavailable(
      'The database is busy.',
      stuck ? new Error('Too many wait for a connection') : undefined,
    );
  }

  /** When all places to wait are taken, the tenant with most of them gives up its last. */
  function makeRoom(forWhom: Account): boolean {
    let longest = forWhom;
    for (const account of queued) if (account.queue.size > longest.queue.size) longest = account;
    const last = [...longest.queue].at(-1);
    if (longest === forWhom || last === undefined) return false;
    remove(longest, last);
    last.refuse(refusal(last.sinceMs));
    return true;
  }

  function wait(account: Account): Promise<Place> {
    const tooMany = account.queue.size >= maxWaitingEach || (waiting >= maxWaiting && !makeRoom(account));
    if (tooMany) {
      const [oldest] = account.queue;
      return Promise.reject(refusal(oldest?.sinceMs ?? clock.monotonicMs()));
    }
    return new Promise((resolve, reject) => {
      const unit: Waiting = {
        sinceMs: clock.monotonicMs(),
        grant(place) {
          clearTimeout(timer);
          resolve(place);
        },
        refuse(error) {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        remove(account, unit);
        reject(refusal(unit.sinceMs));
      }, patienceMs);
      account.queue.add(unit);
      queued.add(account);
      waiting += 1;
      waited += 1;
    });
  }

  return {
    enter(who) {
      const account = accountOf(who);
      // Whoever waits already goes first, also when what it waits for is that it holds less itself.
      return mayTake(account) && account.queue.size === 0 ? take(account, clock.monotonicMs()) : undefined;
    },
    wait: (who) => wait(accountOf(who)),
    leave(place) {
      const account = place as Account; // made by take()
      settle(account, clock.monotonicMs());
      account.held -= 1;
      held -= 1;
      if (waiting > 0) admit();
    },
    figures: () => ({ waiting, waited, refused }),
  };
}

/** `load` follows `held` with the time constant `memoryMs`. */
function settle(account: Account, nowMs: number): void {
  if (account.load !== account.held) {
    const faded = Math.exp((account.asOfMs - nowMs) / memoryMs);
    account.load = account.held + (account.load - account.held) * faded;
  }
  account.asOfMs = nowMs;
}

/** Lowest first: when the tenant began to wait for what it gets next, put back by what it has held lately. */
function rankOf(account: Account, nowMs: number, msPerConnection: number): number {
  if (account.who === controlPlane) return -Infinity;
  settle(account, nowMs);
  const [unit] = account.queue;
  return Math.max(unit?.sinceMs ?? nowMs, account.grantedAtMs) + account.load * msPerConnection;
}

/** Of the same shape, for databases that share their connections out as they are asked for. */
export const noAdmission: Admission = {
  enter: (who) => ({ who }),
  wait: (who) => Promise.resolve({ who }),
  leave: () => undefined,
  figures: () => ({ waiting: 0, waited: 0, refused: 0 }),
};
