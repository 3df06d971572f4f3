import type { Readable } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Request } from 'express';
import { AppError } from '../errors.ts';
import { tooSlow } from './arrival.ts';
import { expectsContinue } from './request-shape.ts';
import { invalid } from './validate.ts';

/** A body as it comes, unpacked: no more of it is taken than is asked for, and a client must not let us wait. */
export interface Intake {
  /**
   * The next bytes; undefined at the end.
   *
   * @param patienceMs after which `later` is the answer, and the same bytes are still to come; by default the client's
   * @throws AppError request_timeout, client_closed_request; invalid_input for what cannot be unpacked
   */
  next(patienceMs?: number): Promise<Buffer | 'later' | undefined>;
  /** Something of use has been made of what came: the client's time begins anew, once it has sent enough. */
  progressed(): void;
}

/** What a client may do. Waiting for us does not count. */
export const intakeLimits = {
  /** Within this it sends `bytes`, and with them at least one whole line, or all that is left. Milliseconds. */
  windowMs: 5000,
  bytes: 16_384,
};

const unpackers: Readonly<Record<string, (() => NodeJS.ReadWriteStream & Readable) | undefined>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};

/** @throws AppError unsupported_media_type for an encoding that is not known */
export function createIntake(req: Request, limits = intakeLimits): Intake {
  if (expectsContinue(req)) req.res?.writeContinue();
  const chunks = unpacked(req).iterator({ destroyOnReturn: false });
  let pending: Promise<IteratorResult<Buffer, void>> | undefined;
  let waitedMs = 0;
  let bytes = 0;

  async function next(patienceMs = Infinity): Promise<Buffer | 'later' | undefined> {
    pending ??= chunks.next() as Promise<IteratorResult<Buffer, void>>;
    const startedMs = performance.now();
    const leftMs = Math.max(0, limits.windowMs - waitedMs);
    const came = await within(pending, Math.min(patienceMs, leftMs)).catch((error: unknown) => {
      throw req.complete ? notUnpacked(error) : gone(error);
    });
    waitedMs += performance.now() - startedMs;
    if (came === 'later') {
      if (waitedMs >= limits.windowMs) throw tooSlow('Too little has arrived for too long.');
      return came;
    }
    pending = undefined;
    if (came.done === true) return undefined;
    bytes += came.value.length;
    return came.value;
  }

  return {
    next,
    progressed() {
      if (bytes < limits.bytes) return;
      bytes = 0;
      waitedMs = 0;
    },
  };
}

function unpacked(req: Request): Readable {
  const encoding = (req.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding === 'identity') return req;
  const make = unpackers[encoding];
  if (make === undefined) {
    throw new AppError('unsupported_media_type', 'This Content-Encoding is not supported.');
  }
  const unpacker = make();
  // Not a pipeline: that would close the connection, and the answer with it, when something cannot be unpacked.
  req.pipe(unpacker);
  req.once('close', () => {
    if (!req.complete) unpacker.destroy(gone());
  });
  return unpacker;
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | 'later'> {
  promise.catch(() => undefined); // it may fail when nobody waits; who asks next is told
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'later'>((resolve) => {
    timer = setTimeout(() => resolve('later'), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function gone(cause?: unknown): AppError {
  return new AppError('client_closed_request', 'The client has closed the request.', { cause });
}

function notUnpacked(cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  const message = 'The body could not be unpacked.';
  return invalid([{ pointer: 'Content-Encoding', code: 'invalid_encoding', message }]);
}
