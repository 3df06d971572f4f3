import { isUtf8 } from 'node:buffer';
import express, { type Request, type RequestHandler, type Response } from 'express';
import { AppError } from '../errors.ts';
import { dropRest, hasBody, inTime, isBulk } from './arrival.ts';
import { expectsContinue, requireShape } from './request-shape.ts';
import { invalid } from './validate.ts';

/** Bodies: JSON in UTF-8 and nothing else, of a bounded size and depth, whoever sends it. */
export interface BodyOptions {
  /** Of the body as it is meant, not as it is packed: larger ones are refused with 413. */
  limitBytes: number;
  /** Media types that PATCH takes. All other methods take JSON. */
  patchTypes: readonly string[];
  /** Within which it must have come, milliseconds; default: see arrival.ts. */
  arrivalMs?: number;
}

const json = 'application/json';
const maxDepth = 32;

/** Into `req.body`, which is undefined when there is none. The shape of the request is looked at here, too: a layer costs. */
export function bodies({ limitBytes, patchTypes, arrivalMs }: BodyOptions): RequestHandler {
  const takes = (req: Request) => {
    const type = mediaType(req);
    return type === json || (req.method === 'PATCH' && type !== undefined && patchTypes.includes(type));
  };
  const read = express.json({
    limit: limitBytes,
    // Asked of an Express request, though the type says less.
    type: (req) => takes(req as Request),
    verify: (_req, _res, bytes, charset) => requireText(bytes, charset),
  });

  return (req, res, next) => {
    try {
      requireShape(req);
    } catch (error) {
      refuseRest(req, res);
      // What follows it on this connection may be a part of it.
      if (error instanceof AppError && error.code === 'malformed_request')
        res.setHeader('Connection', 'close');
      throw error;
    }
    if (isBulk(req)) {
      dropRest(req, res);
      next(); // its route asks for the body when it is known who sends it
      return;
    }
    if (!hasBody(req)) {
      read(req, res, next);
      return;
    }
    if (!takes(req)) {
      refuseRest(req, res);
      throw new AppError(
        'unsupported_media_type',
        `A body must be ${typesOf(req, patchTypes).join(' or ')}.`,
      );
    }
    if (Number(req.headers['content-length']) > limitBytes) {
      refuseRest(req, res);
      throw tooLarge();
    }
    if (expectsContinue(req)) res.writeContinue();
    read(req, res, withinLimit(req, res, limitBytes, inTime(req, res, next, arrivalMs)));
  };
}

/** What the resource could be patched with, for `Accept-Patch` (RFC 5789). */
export function patchTypesOf(req: Request): string {
  return String(req.app.get(patchTypesSetting));
}

/** Where an application keeps them, for the routes and the problems of it. */
export const patchTypesSetting = 'patch types';

function typesOf({ method }: Request, patchTypes: readonly string[]): readonly string[] {
  return method === 'PATCH' ? patchTypes : [json];
}

function mediaType({ headers }: Request): string | undefined {
  return headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
}

/**
 * body-parser refuses what is too large only when all of it has arrived, and of a body in chunks nobody knows when that
 * is. Whichever of the two comes first has the word.
 */
function withinLimit(
  req: Request,
  res: Response,
  limitBytes: number,
  next: (error?: unknown) => void,
): (error?: unknown) => void {
  let received = 0;
  let over = false;
  const count = (chunk: Buffer) => {
    received += chunk.length;
    if (received <= limitBytes || over) return;
    over = true;
    refuseRest(req, res);
    next(tooLarge());
  };
  if (req.headers['content-length'] === undefined) req.on('data', count);
  return (error) => {
    if (!over) next(error);
  };
}

export function tooLarge(): AppError {
  return new AppError('payload_too_large', 'The body is larger than this route takes.');
}

function refuseRest(req: Request, res: Response): void {
  // Who asks first may or may not send its body after the answer, so nothing that follows could be told apart.
  if (req.headers.expect !== undefined) res.setHeader('Connection', 'close');
  dropRest(req, res);
}

/**
 * What cannot be decoded would become U+FFFD, and two different inputs one; a byte order mark is let in by body-parser and
 * by nobody's contract (RFC 8259, section 8.1).
 *
 * @throws AppError malformed_json
 */
export function requireUtf8(bytes: Buffer): void {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw new AppError('malformed_json', 'The body begins with a byte order mark.');
  }
  if (!isUtf8(bytes)) throw new AppError('malformed_json', 'The body is not well-formed UTF-8.');
}

/** Depth is counted before the parser spends a tenth of a second on a megabyte of brackets. */
function requireText(bytes: Buffer, charset: string): void {
  if (charset !== 'utf-8') throw new AppError('unsupported_media_type', 'The body must be UTF-8.');
  requireUtf8(bytes);
  if (depthOf(bytes) > maxDepth) {
    const message = `At most ${maxDepth} levels are taken.`;
    throw invalid([{ pointer: '', code: 'too_deep', message }]);
  }
}

/** Of brackets outside of strings. Counts no further than is needed. */
function depthOf(bytes: Buffer): number {
  let depth = 0;
  let deepest = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length && deepest <= maxDepth; at += 1) {
    const byte = bytes[at];
    if (byte === 0x22) quoted = !quoted;
    else if (quoted)
      at += byte === 0x5c ? 1 : 0; // a backslash, and what it stands before
    else if (byte === 0x5b || byte === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth -= 1;
  }
  return deepest;
}
