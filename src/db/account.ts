import { trainLength } from './round-trips.ts';

/** What admission.ts keeps of one tenant on one node. */

/** The time over which "lately" reaches back: what was held longer ago has faded to a third. */
const memoryMs = 2000;
/** Of a connection, for a unit that is light: so many travel together. */
const lightPart = 1 / trainLength;
/** Units that take no longer than this on average are light. When all connections are busy with such, nobody waits long. */
const lightMs = 10;
/** Units are long that take more than this, and more than so many times what a quarter of all units takes at most. */
const longMs = 20;
const longTimes = 10;

export interface Waiting {
  shares: boolean;
  sinceMs: number;
  grant(place: PlaceOf): void;
  refuse(error: Error): void;
}

/** Of one tenant on one node. */
export class Account {
  readonly who: string;
  readonly light: PlaceOf = { account: this, part: lightPart };
  readonly whole: PlaceOf = { account: this, part: 1 };
  readonly long: PlaceOf = { account: this, part: 1 };
  /** Under way. */
  units = 0;
  /** How long units took lately; unknown at first. */
  tookMs: number | undefined = undefined;
  /** Connections held now. */
  held = 0;
  /** Connections held on average lately, as of `asOfMs`. */
  load = 0;
  asOfMs = 0;
  /** When the last waiting unit was let in. */
  grantedAtMs = -Infinity;
  /** First come, first served. */
  readonly queue: Waiting[] = [];

  constructor(who: string) {
    this.who = who;
  }
}

/** The right to a connection (`part` 1), or to a part of one. */
export interface PlaceOf {
  readonly account: Account;
  readonly part: number;
}

/**
 * Of whom nothing is known yet, neither good nor bad is assumed.
 *
 * @param quarterMs what a quarter of the units of all accounts takes at most
 */
export function placeFor(
  { light, whole, long, tookMs }: Account,
  shares: boolean,
  quarterMs: number,
): PlaceOf {
  if (tookMs === undefined) return whole;
  // When the whole server is slow nobody is long because of that.
  if (tookMs > longMs && tookMs > longTimes * quarterMs) return long;
  return shares && tookMs <= lightMs ? light : whole;
}

/** `load` follows `held` with the time constant `memoryMs`. */
export function settle(account: Account, nowMs: number): void {
  if (account.load !== account.held) {
    const faded = Math.exp((account.asOfMs - nowMs) / memoryMs);
    account.load = account.held + (account.load - account.held) * faded;
  }
  account.asOfMs = nowMs;
}

/** Of the last ten or so; one that takes very long is noticed at once. */
export function noteTook(account: Account, tookMs: number): void {
  const known = account.tookMs ?? tookMs;
  account.tookMs = known + 0.1 * (tookMs - known);
}
