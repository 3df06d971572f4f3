import { createHmac, type KeyObject } from 'node:crypto';
import type { Request } from 'express';
import { invalid } from './validate.ts';

/** `Idempotency-Key`, by draft-ietf-httpapi-idempotency-key-header; a key may come without its quotation marks, too. */

const keyPattern = /^("?)([\w.:~+/=-]{1,255})\1$/;

/** Undefined without the header. @throws AppError invalid_input */
export function idempotencyKeyOf(req: Request): string | undefined {
  const given = req.get('idempotency-key');
  if (given === undefined) return undefined;
  const [, , key] = keyPattern.exec(given) ?? [];
  if (key !== undefined) return key;
  const message = '1 to 255 letters, digits or .:~+/=_- are needed, with or without quotation marks.';
  throw invalid([{ pointer: 'Idempotency-Key', code: 'invalid_format', message }]);
}

/** Of what is asked for. @param key because it may hold a password */
export function contentDigest(key: KeyObject, content: unknown): string {
  return createHmac('sha256', key)
    .update(JSON.stringify(content) ?? '')
    .digest('base64url');
}
