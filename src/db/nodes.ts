import type { NodeState } from './router.ts';

/**
 * What is known about the servers, and what follows from it. No input or output: probes bring facts in, the router
 * takes views out.
 */

/** A primary's position; `atMs` is when it was asked, so all that was committed before lies behind `lsn`. */
export interface Sample {
  lsn: bigint;
  atMs: number;
}

export interface ReplicaFacts {
  replayLsn: bigint;
  /** A WAL receiver is running: the replica has a primary to hear from. */
  receiving: boolean;
}

export interface Lag {
  state: NodeState;
  /** 0 when nothing is known to be missing. */
  lagMs: number | undefined;
  /** The replica has all that was committed longer ago than this, milliseconds: never less than the age of the probe. */
  provenMs: number | undefined;
  lagBytes: bigint | undefined;
}

/** Samples kept; at two a second, more than any sensible MAX_REPLICA_LAG_MS. */
const maxSamples = 240;

export interface PrimaryHistory {
  add(sample: Sample): void;
  latest(): Sample | undefined;
  /** The newest sample whose position a node at `lsn` has reached: it has all that was committed before it. */
  coveredBy(lsn: bigint): Sample | undefined;
}

export function createPrimaryHistory(): PrimaryHistory {
  const samples: Sample[] = [];
  return {
    add(sample) {
      samples.push(sample);
      if (samples.length > maxSamples) samples.shift();
    },
    latest: () => samples.at(-1),
    coveredBy: (lsn) => samples.findLast((sample) => sample.lsn <= lsn),
  };
}

/**
 * How far a replica is behind at most. "Received = replayed" says 0 on a replica that is cut off, and the age of the
 * last replayed commit grows on an idle primary; so the replica's position is held against the primary's recent ones,
 * and a replica without a WAL receiver counts only while the primary itself is gone: nothing is committed then.
 *
 * @param nowMs the present, or the moment the primary was lost: its clock stands still from then on
 */
export function assess(
  facts: ReplicaFacts | undefined,
  history: PrimaryHistory,
  primaryDown: boolean,
  maxLagMs: number,
  nowMs: number,
): Lag {
  const latest = history.latest();
  if (facts === undefined || latest === undefined) return unproven;
  if (!facts.receiving && !primaryDown) return unproven;
  const covered = history.coveredBy(facts.replayLsn);
  const lagBytes = covered === latest ? 0n : latest.lsn - facts.replayLsn;
  // Behind all samples: further back than they reach.
  if (covered === undefined) return { state: 'stale', lagMs: undefined, provenMs: undefined, lagBytes };
  const provenMs = Math.max(0, Math.round(nowMs - covered.atMs));
  if (covered !== latest) {
    return { state: provenMs <= maxLagMs ? 'fresh' : 'stale', lagMs: provenMs, provenMs, lagBytes };
  }
  // Nothing is known to be missing, as of the sample; an old sample proves little.
  return { state: provenMs <= maxLagMs ? 'fresh' : 'unknown', lagMs: 0, provenMs, lagBytes };
}

const unproven: Lag = { state: 'unknown', lagMs: undefined, provenMs: undefined, lagBytes: undefined };
