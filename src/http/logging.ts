import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Express, Request } from 'express';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';
import type { RequestFacts } from './observation.ts';

/** Polled every second or so by machines; a line each would drown the others. */
const quiet = new Set(['/livez', '/readyz', '/metrics']);

/**
 * One line a request: id, trace if there is one, tenant, actor, node and reason, status, milliseconds. Headers and bodies
 * are never logged, so no credential can be; of the URL only the path is, for the query may hold personal data.
 */
export function requestLine(logger: Logger): (req: Request, facts: RequestFacts) => void {
  return ({ context, originalUrl }, { method, status, ms }) => {
    const path = pathOf(originalUrl);
    if (quiet.has(path)) return;
    const { requestId, traceId, tenant, actor, decision, databaseMs } = context;
    const line = {
      requestId,
      trace_id: traceId, // the name that log viewers know
      method,
      path,
      status,
      tenant: tenant?.id,
      actor: actor === undefined ? undefined : `${actor.kind}:${actor.id}`,
      node: decision?.node,
      reason: decision?.reason,
      databaseMs: tenths(databaseMs),
      ms: tenths(ms),
    };
    const message = `${method} ${path} ${status}`;
    if (status >= 500) logger.error(line, message);
    else logger.info(line, message);
  };
}

/**
 * `req.log`, whose lines carry the request's id. pino-http makes two loggers and three listeners for a request, which
 * costs as much as all else before the database; few requests have anything to log, so it is asked when one has.
 */
export function requestLog(app: Express, logger: Logger): void {
  const attach = pinoHttp({
    logger,
    autoLogging: false,
    genReqId: (req: IncomingMessage) => (req as unknown as Request).context.requestId,
    serializers: { req: () => undefined, res: () => undefined, err: (error: unknown) => error },
    customAttributeKeys: { reqId: 'requestId' },
    quietReqLogger: true,
  });
  Object.defineProperty(app.request, 'log', {
    get(this: Request) {
      Object.defineProperty(this, 'log', { value: undefined, writable: true });
      attach(this, this.res as ServerResponse); // sets it
      return this.log;
    },
  });
}

function pathOf(url: string): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
