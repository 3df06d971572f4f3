import { randomUUID } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { RequestContext } from './context.ts';
import type { Step } from './steps.ts';
import { traceIdOf } from './trace-id.ts';

const acceptable = /^[\w.-]{1,128}$/;

/** Starts the request's context. A well-formed `X-Request-Id` is kept, anything else is replaced; both are echoed. */
export function requestId(clock: Clock): Step {
  return (req, res) => {
    const given = req.headers['x-request-id'];
    const id = typeof given === 'string' && acceptable.test(given) ? given : randomUUID();
    req.context = new RequestContext(id, clock.monotonicMs(), traceIdOf(req.headers['traceparent']));
    res.setHeader('X-Request-Id', id);
  };
}
