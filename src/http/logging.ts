import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Request, RequestHandler } from 'express';
import type { Logger } from 'pino';
import { pinoHttp } from 'pino-http';

/** Polled every second or so by machines; a line each would drown the others. */
const quiet = new Set(['/livez', '/readyz', '/metrics']);

/**
 * One line a request: id, trace if there is one, tenant, actor, node and reason, status, milliseconds. Headers and bodies are never logged, so
 * no credential can be; of the URL only the path is, for the query may hold personal data.
 */
export function logging(logger: Logger): RequestHandler {
  return pinoHttp({
    logger,
    genReqId: (req) => contextOf(req).requestId,
    serializers: { req: () => undefined, res: () => undefined, err: (error: unknown) => error },
    customAttributeKeys: { reqId: 'requestId', responseTime: 'ms' },
    quietReqLogger: true,
    autoLogging: { ignore: (req) => quiet.has(pathOf(req)) },
    customLogLevel: (_req, res) => (res.statusCode >= 500 ? 'error' : 'info'),
    customSuccessMessage: (req, res) => `${req.method} ${pathOf(req)} ${res.statusCode}`,
    customErrorMessage: (req, res) => `${req.method} ${pathOf(req)} ${res.statusCode}`,
    customSuccessObject: (req, res, line: object) => ({ ...facts(req, res), ...timeOf(line) }),
    customErrorObject: (req, res, _error, line: object) => ({ ...facts(req, res), ...timeOf(line) }),
  }); // typed for node:http, whose requests Express extends
}

function facts(req: IncomingMessage, res: ServerResponse): object {
  const { tenant, actor, decision, databaseMs, traceId } = contextOf(req);
  return {
    trace_id: traceId, // the name that log viewers know
    method: req.method,
    path: pathOf(req),
    status: res.statusCode,
    tenant: tenant?.id,
    actor: actor === undefined ? undefined : `${actor.kind}:${actor.id}`,
    node: decision?.node,
    reason: decision?.reason,
    databaseMs: Math.round(databaseMs * 10) / 10,
  };
}

function timeOf(line: object): object {
  return { ms: (line as { ms?: number }).ms };
}

function contextOf(req: IncomingMessage): Request['context'] {
  return (req as unknown as Request).context;
}

function pathOf(req: IncomingMessage): string {
  return ((req as unknown as Request).originalUrl ?? req.url ?? '').replace(/\?.*$/s, '');
}
