/** Where the reads of RW were answered, and whether they showed what their actor had written. */
export interface Routing {
  reads: number;
  /** Answered by a replica, as Served-By tells; 0 for servers that send no such header. */
  byReplica: number;
  /** Reads less than the window after the actor's own write. */
  windowReads: number;
  windowByReplica: number;
  /** Reads of the row that their actor wrote last, or of a page that must hold it. */
  ownReads: number;
  /** Of those, how many did not show it. */
  stale: number;
  /** Reason in Served-By → reads. */
  reasons: Record<string, number>;
}

export function noRouting(): Routing {
  return {
    ...{ reads: 0, byReplica: 0, windowReads: 0, windowByReplica: 0, ownReads: 0, stale: 0 },
    reasons: {},
  };
}

export function addRouting(a: Routing, b: Routing): Routing {
  const reasons = { ...a.reasons };
  for (const [reason, reads] of Object.entries(b.reasons)) reasons[reason] = (reasons[reason] ?? 0) + reads;
  return {
    reads: a.reads + b.reads,
    byReplica: a.byReplica + b.byReplica,
    windowReads: a.windowReads + b.windowReads,
    windowByReplica: a.windowByReplica + b.windowByReplica,
    ownReads: a.ownReads + b.ownReads,
    stale: a.stale + b.stale,
    reasons,
  };
}

/** @param servedBy such as `replica-1; reason=fresh; lag=3` */
export function countRead(routing: Routing, servedBy: string | undefined, inWindow: boolean): void {
  routing.reads += 1;
  if (inWindow) routing.windowReads += 1;
  if (servedBy === undefined) return;
  const [node = '', ...parameters] = servedBy.split(';').map((part) => part.trim());
  if (node.startsWith('replica')) {
    routing.byReplica += 1;
    if (inWindow) routing.windowByReplica += 1;
  }
  const reason = parameters.find((parameter) => parameter.startsWith('reason='))?.slice('reason='.length);
  if (reason !== undefined) routing.reasons[reason] = (routing.reasons[reason] ?? 0) + 1;
}
