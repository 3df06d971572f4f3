import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { Request, RequestHandler, Response } from 'express';
import type { Clock } from '../clock.ts';
import { endWithClient } from './ending.ts';

/** A request that has ended, as meters and tracers are told of it. Nothing in it names a tenant or a resource. */
export interface RequestFacts {
  /** The pattern, such as `/v1/products/:id`; `/v1/products/*` or `*` when no route took it. */
  readonly route: string;
  readonly method: string;
  /** 499 when the client left before there was an answer. */
  readonly status: number;
  readonly ms: number;
  /** Of the last routing decision. */
  readonly node: string | undefined;
  readonly reason: string | undefined;
}

export interface RequestObserver {
  ended(facts: RequestFacts): void;
  /** Begins a span; absent where nobody traces. */
  trace?(method: string, headers: IncomingHttpHeaders): RequestTrace;
}

/** The span of one request. */
export interface RequestTrace {
  /** Of the whole trace, 32 hexadecimal digits. */
  readonly id: string;
  /** What is done in `fn`, and later because of it, belongs to the span. */
  within(fn: () => void): void;
  end(facts: RequestFacts): void;
}

export interface Observing {
  observer: RequestObserver;
  /** Writes the line of a request. */
  line: (req: Request, facts: RequestFacts) => void;
  /** Paths under which routes are, for requests that are refused before a route takes them. */
  mounts: readonly string[];
  clock: Clock;
}

/** Tells of the end of a request, with one listener for all who want to know: each of its own costs more than it does. */
export function observing({ observer, line, mounts, clock }: Observing): RequestHandler {
  // One function for all: it is called with the response as `this`.
  function onClose(this: ServerResponse): void {
    const req = this.req as Request;
    const { context } = req;
    const facts: RequestFacts = {
      route: context.route ?? refusedAt(req.originalUrl, mounts),
      method: req.method,
      status: this.headersSent ? this.statusCode : 499,
      ms: clock.monotonicMs() - context.startedAtMs,
      node: context.decision?.node,
      reason: context.decision?.reason,
    };
    endWithClient(req, this as Response);
    observer.ended(facts);
    line(req, facts);
    context.trace?.end(facts);
  }

  return (req, res, next) => {
    res.on('close', onClose);
    const trace = observer.trace?.(req.method, req.headers);
    if (trace === undefined) {
      next();
      return;
    }
    req.context.trace = trace;
    req.context.traceId = trace.id;
    trace.within(() => next());
  };
}

function refusedAt(url: string, mounts: readonly string[]): string {
  const path = `${url.toLowerCase().replace(/\?.*$/s, '')}/`;
  const mount = mounts.find((each) => path.startsWith(`${each}/`));
  return mount === undefined ? '*' : `${mount}/*`;
}
