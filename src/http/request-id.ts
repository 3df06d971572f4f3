import type { RequestHandler } from 'express';
import { v7 as uuidv7 } from 'uuid';
import type { Clock } from '../clock.ts';
import { traceIdOf } from './trace-id.ts';

const acceptable = /^[\w.-]{1,128}$/;

/** Starts the request's context. A well-formed `X-Request-Id` is kept, anything else is replaced; both are echoed. */
export function requestId(clock: Clock): RequestHandler {
  return (req, res, next) => {
    const given = req.get('x-request-id');
    const id = given !== undefined && acceptable.test(given) ? given : uuidv7();
    req.context = {
      requestId: id,
      startedAtMs: clock.monotonicMs(),
      traceId: traceIdOf(req.headers['traceparent']),
      route: undefined,
      databaseMs: 0,
      ended: new AbortController(),
    };
    res.setHeader('X-Request-Id', id);
    next();
  };
}
