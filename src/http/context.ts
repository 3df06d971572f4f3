import type { Request } from 'express';
import { AppError } from '../errors.ts';
import type { Actor, Decision, Tenant, TenantScope } from '../db/index.ts';
import type { RequestTrace } from './observation.ts';

/** What is known about a request so far; each step of the way adds its part. */
export class RequestContext {
  readonly requestId: string;
  readonly startedAtMs: number;
  /** Of the trace the request belongs to, if it is said to or somebody traces. */
  traceId: string | undefined;
  trace: RequestTrace | undefined = undefined;
  /** The pattern of the route that took the request. */
  route: string | undefined = undefined;
  /** Milliseconds spent waiting for PostgreSQL. */
  databaseMs = 0;
  /** The last routing decision. */
  decision: Decision | undefined = undefined;
  actor: Actor | undefined = undefined;
  tenant: Tenant | undefined = undefined;
  scope: TenantScope | undefined = undefined;
  /** Of the reads of the request; undefined where no tenant is served. */
  freshness: Freshness | undefined = undefined;
  /** Gives the request up when its time is over. */
  deadline: NodeJS.Timeout | undefined = undefined;
  #ended: AppError | undefined = undefined;
  #abort: AbortController | undefined = undefined;

  constructor(requestId: string, startedAtMs: number, traceId: string | undefined) {
    this.requestId = requestId;
    this.startedAtMs = startedAtMs;
    this.traceId = traceId;
  }

  /** Aborted when nobody waits for the answer any more. Made when it is asked for, which few requests take long enough for. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#ended !== undefined) this.#abort.abort(this.#ended);
    }
    return this.#abort.signal;
  }

  /** Nobody waits for the answer any more. */
  end(reason: AppError): void {
    this.#ended ??= reason;
    this.#abort?.abort(this.#ended);
  }
}

/** Carries how far a server had come from one request to another that must not see less. */
export interface Freshness {
  /** The next reads see what these did; '' stands for nothing. To be trusted: it comes out of something signed. */
  require(seen: string): void;
  /** What the reads so far have shown, for the tenant; '' when that is not known. */
  seen(): string;
}

declare module 'express-serve-static-core' {
  interface Request {
    context: RequestContext;
  }
}

/** @throws AppError unauthenticated when the route stands before authentication */
export function requireActor(req: Request): Actor {
  const { actor } = req.context;
  if (actor === undefined) throw new AppError('unauthenticated', 'An access token is needed.');
  return actor;
}

/** The tenant, actor and consistency of the request, to be passed down. @throws AppError tenant_required */
export function requireScope(req: Request): TenantScope {
  const { scope } = req.context;
  if (scope === undefined) throw new AppError('tenant_required', 'The request names no tenant.');
  return scope;
}
