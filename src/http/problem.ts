import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import { AppError, type ErrorCode, errorTable, notFound } from '../errors.ts';
import { answerJson } from './answer.ts';
import { patchTypesOf } from './body.ts';

/** Errors as `application/problem+json` (RFC 9457), all in one place. */

export const problemType = 'application/problem+json';

/** What Express and its body parser raise, by `type`. */
const byType: Readonly<Record<string, [ErrorCode, string] | undefined>> = {
  'entity.parse.failed': ['malformed_json', 'The body could not be read as JSON.'],
  'entity.too.large': ['payload_too_large', 'The body is larger than this route takes.'],
  'encoding.unsupported': ['unsupported_media_type', 'This Content-Encoding is not supported.'],
  'charset.unsupported': ['unsupported_media_type', 'The body must be UTF-8.'],
  'request.aborted': ['client_closed_request', 'The client has closed the request.'],
  'request.size.invalid': ['invalid_input', 'The body does not have the length that was announced.'],
};

/** Logs what is our own fault and answers every error. Errors after the first byte end the connection. */
export const problems: ErrorRequestHandler = (error, req, res, next) => {
  const known = toAppError(error);
  const { status } = errorTable[known.code];
  if (status >= 500) {
    const { traceId } = req.context;
    req.log.error({ trace_id: traceId, err: error as unknown, cause: causeOf(error) }, known.message);
  }
  if (res.headersSent) {
    next(error);
    return;
  }
  if (status === 415) tellTaken(req, res, error);
  sendProblem(req, res, known);
};

/** What would have been taken instead: RFC 5789, section 2.2; RFC 9110, section 15.5.16. */
function tellTaken(req: Request, res: Response, error: unknown): void {
  const { type } = error as { type?: string };
  if (type === 'encoding.unsupported') res.setHeader('Accept-Encoding', 'gzip, deflate, br');
  else if (req.method === 'PATCH') res.setHeader('Accept-Patch', patchTypesOf(req));
}

/** The end of the way: no route has taken the request. */
export const unknownRoute: RequestHandler = () => {
  throw notFound();
};

function sendProblem(req: Request, res: Response, error: AppError): void {
  const { status } = errorTable[error.code];
  if (error.retryAfterS !== undefined) res.setHeader('Retry-After', String(error.retryAfterS));
  if (status === 401) res.setHeader('WWW-Authenticate', 'Bearer');
  // What was refused has written nothing that anybody could wait for, and shows no version of anything.
  res.removeHeader('Consistency-Token');
  res.removeHeader('ETag');
  answerJson(res, status, problemBody(error, req.context.requestId), problemType);
}

/** RFC 9457, with `code`, `requestId` and `errors` beside its own members. */
export function problemBody({ code, message, errors }: AppError, requestId: string): object {
  const { status, title } = errorTable[code];
  return { type: `urn:tenantry:problem:${code}`, title, status, detail: message, code, requestId, errors };
}

function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const { type, status } = (error ?? {}) as { type?: string; status?: number };
  const known = type === undefined ? undefined : byType[type];
  if (known !== undefined) return new AppError(...known, { cause: error });
  // Express refuses a path it cannot decode with an error of status 400.
  if (status === 400)
    return new AppError('invalid_input', 'The request could not be read.', { cause: error });
  return new AppError('internal', 'Something went wrong on our side; the request id leads to it.', {
    cause: error,
  });
}

function causeOf(error: unknown): unknown {
  const { cause } = (error ?? {}) as { cause?: unknown };
  if (!(cause instanceof Error)) return cause;
  return { message: cause.message, ...Object.fromEntries(Object.entries(cause)) };
}
