import type { Clock } from '../clock.ts';
import { unavailable } from '../errors.ts';
import { Account, noteTook, placeFor, type PlaceOf, settle, type Waiting } from './account.ts';
import type { TenantScope } from './scope.ts';

/**
 * Who gets the next connection of a node. While connections are free, whoever comes takes one. When they are not, units
 * of work wait per tenant, and the tenant goes first that has held the fewest connections lately. What is counted is the
 * time for which connections are held, not requests: a tenant with few slow statements and one with many quick ones get
 * the same share of the database.
 *
 * Three things keep a quiet tenant from waiting for somebody else's slow statement, which no order of a queue can:
 *
 * - A tenant takes a connection only while it holds less than `alpha` times those that are free ("dynamic threshold",
 *   Choudhury and Hahne 1998). Of ten connections one tenant alone gets eight, two get four each, and there is always
 *   one for a tenant that has none. More connections than that would not make PostgreSQL faster on the usual number of
 *   cores; of fewer than five connections nothing is kept free.
 * - One connection of five or more is for look-ups of the control plane, which every request of every tenant needs.
 * - While others are about, only `maxLong` units are under way of tenants whose units are very much longer: what those
 *   would take from the others is not connections but PostgreSQL's processors.
 *
 * A round trip of a tenant whose units have been short lately takes a part of a connection only: it shares one with others
 * (round-trips.ts), and if it does not, it is over soon. One tenant has no more units under way because of that.
 */
export interface Admission {
  /**
   * @param shares its connection with others, for it is one round trip
   * @returns undefined when the unit has to wait; nobody has been counted then
   */
  enter(who: string, shares?: boolean): Place | undefined;
  /**
   * @returns a place, to be left like any other
   * @throws AppError unavailable when too many wait, or the wait took too long
   */
  wait(who: string, shares?: boolean): Promise<Place>;
  /** Gives the connection back. To be called once per place. @param tookMs for how long it was held, if that shall count */
  leave(place: Place, tookMs?: number): void;
  figures(): AdmissionFigures;
}

/** The right to a connection, or to a part of one. Of `who`, not of a unit of work, so that entering makes no garbage. */
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
  /** Units at once, while others are about, of tenants whose units are much longer than those; default 1. */
  maxLong?: number | undefined;
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

/** What a tenant writes in bulk; what lasts as long as somebody sends, apart from that. */
export function bulkAccountOf({ tenant }: TenantScope, { lasting = false }: { lasting?: boolean }): string {
  return `${tenant.id} ${lasting ? 'streams' : 'bulk'}`;
}

/** Look-ups of the control plane: they may take the last connection, and nobody goes before them. */
export const controlPlane = 'control';

const alpha = 4;
/** Others are about for so long after the last one began. */
const shortAboutMs = 1000;
/** Units at once, meanwhile, of a tenant of whom nothing is known. */
const unknownUnits = 2;
/**
 * Having held all connections of the node puts a tenant back as if it had come this much later, and having held a part of
 * them by that part: large, so that shares are strict, and finite, so that newcomers cannot keep a tenant waiting for ever
 * (what it has held fades while it waits: 2.7 s at the worst).
 */
const handicapMs = 10_000;
/** Tenants remembered before those without any load are forgotten. */
const sweepFrom = 1000;

export function createAdmission(options: AdmissionOptions): Admission {
  const { max, clock, patienceMs } = options;
  const maxWaiting = options.maxWaiting ?? 100 * max;
  const maxWaitingEach = options.maxWaitingEach ?? Math.ceil(maxWaiting / 2);
  const kept = max >= 5 ? 1 : 0;
  const maxUnits = Math.ceil((alpha / (alpha + 1)) * (max - kept));
  const maxLong = options.maxLong ?? 1;
  const accounts = new Map<string, Account>();
  const queued: Account[] = [];
  let sweepAt = sweepFrom;
  let held = 0;
  /** Long units under way. */
  let longUnits = 0;
  /** The last unit that was not long, and the last one before it of another account. */
  const short = { by: undefined as Account | undefined, atMs: -Infinity, othersAtMs: -Infinity };
  /** A quarter of all units takes no longer. */
  let quarterMs = 1;
  let waiting = 0;
  let waited = 0;
  let refused = 0;
  let grantedAtMs = -Infinity;

  function accountFor(who: string): Account {
    let account = accounts.get(who);
    if (account === undefined) {
      if (accounts.size >= sweepAt) sweep();
      account = new Account(who);
      accounts.set(who, account);
    }
    return account;
  }

  function sweep(): void {
    for (const account of accounts.values()) {
      settle(account, clock.monotonicMs());
      if (account.held === 0 && account.queue.length === 0 && account.load < 0.01)
        accounts.delete(account.who);
    }
    sweepAt = Math.max(sweepFrom, 2 * accounts.size);
  }

  function mayTake(account: Account, place: PlaceOf, nowMs: number): boolean {
    const { part } = place;
    if (account.who === controlPlane) return held + part <= max;
    if (nowMs - (account === short.by ? short.othersAtMs : short.atMs) < shortAboutMs) {
      if (place === account.long && longUnits >= maxLong) return false;
      if (account.tookMs === undefined && account.units >= unknownUnits) return false;
    }
    const free = max - kept - held;
    return free >= part && account.held < alpha * free && account.units < maxUnits;
  }

  function take(account: Account, place: PlaceOf, nowMs: number): PlaceOf {
    settle(account, nowMs);
    account.units += 1;
    account.held += place.part;
    held += place.part;
    if (place === account.long) longUnits += 1;
    else if (account.tookMs !== undefined && account.who !== controlPlane) noteShort(account, nowMs);
    return place;
  }

  function noteShort(account: Account, nowMs: number): void {
    if (account !== short.by) {
      short.by = account;
      short.othersAtMs = short.atMs;
    }
    short.atMs = nowMs;
  }

  /** Lets in whoever may, best first. */
  function admit(): void {
    while (waiting > 0 && held < max) {
      const nowMs = clock.monotonicMs();
      const next = first(nowMs);
      const unit = next?.queue[0];
      if (next === undefined || unit === undefined) return;
      remove(next, unit);
      next.grantedAtMs = nowMs;
      grantedAtMs = nowMs;
      unit.grant(take(next, placeFor(next, unit.shares, quarterMs), nowMs));
    }
  }

  function first(nowMs: number): Account | undefined {
    let best: Account | undefined;
    let bestRank = Infinity;
    for (const account of queued) {
      if (!mayTake(account, placeFor(account, account.queue[0]?.shares ?? false, quarterMs), nowMs)) continue;
      const rank = rankOf(account, nowMs, handicapMs / max);
      if (rank < bestRank) [best, bestRank] = [account, rank];
    }
    return best;
  }

  function remove(account: Account, unit: Waiting): void {
    if (!removeFrom(account.queue, unit)) return;
    waiting -= 1;
    if (account.queue.length === 0) removeFrom(queued, account);
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
    for (const account of queued) if (account.queue.length > longest.queue.length) longest = account;
    const last = longest.queue.at(-1);
    if (longest === forWhom || last === undefined) return false;
    remove(longest, last);
    last.refuse(refusal(last.sinceMs));
    return true;
  }

  function wait(account: Account, shares: boolean): Promise<Place> {
    const tooMany = account.queue.length >= maxWaitingEach || (waiting >= maxWaiting && !makeRoom(account));
    if (tooMany) {
      return Promise.reject(refusal(account.queue[0]?.sinceMs ?? clock.monotonicMs()));
    }
    return new Promise((resolve, reject) => {
      const unit: Waiting = {
        shares,
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
      if (account.queue.push(unit) === 1) queued.push(account);
      waiting += 1;
      waited += 1;
    });
  }

  return {
    enter(who, shares = false) {
      const account = accountFor(who);
      // Whoever waits already goes first, also when what it waits for is that it holds less itself.
      if (account.queue.length > 0) return undefined;
      const place = placeFor(account, shares, quarterMs);
      const nowMs = clock.monotonicMs();
      return mayTake(account, place, nowMs) ? take(account, place, nowMs) : undefined;
    },
    wait: (who, shares = false) => wait(accountFor(who), shares),
    leave(place, tookMs) {
      const { account, part } = place as PlaceOf; // made by take()
      if (place === account.long) longUnits -= 1;
      settle(account, clock.monotonicMs());
      if (tookMs !== undefined && account.who !== controlPlane) {
        noteTook(account, tookMs);
        // Where a quarter of them are below and the rest above it stands still.
        quarterMs = Math.max(0.1, quarterMs * (tookMs > quarterMs ? 1.025 : 0.925));
      }
      account.units -= 1;
      account.held -= part;
      held -= part;
      if (waiting > 0) admit();
    },
    figures: () => ({ waiting, waited, refused }),
  };
}

/** Lowest first: when the tenant began to wait for what it gets next, put back by what it has held lately. */
function rankOf(account: Account, nowMs: number, msPerConnection: number): number {
  if (account.who === controlPlane) return -Infinity;
  settle(account, nowMs);
  return Math.max(account.queue[0]?.sinceMs ?? nowMs, account.grantedAtMs) + account.load * msPerConnection;
}

/**
 * Lists are arrays and not sets. A set that things come to and go from makes a new table every few dozen times, and V8 lets each
 * old table point to the next one: one that has grown old keeps alive what all later ones held, until the next full collection.
 */
function removeFrom<T>(list: T[], one: T): boolean {
  const at = list[0] === one ? 0 : list.indexOf(one);
  if (at === -1) return false;
  list.splice(at, 1);
  return true;
}

/** Of the same shape, for databases that share their connections out as they are asked for. */
export const noAdmission: Admission = {
  enter: (who) => ({ who }),
  wait: (who) => Promise.resolve({ who }),
  leave: () => undefined,
  figures: () => ({ waiting: 0, waited: 0, refused: 0 }),
};
