import { z } from 'zod';
import { type ErrorCode, errorTable } from '../../errors.ts';
import type { AnswerHeader } from './headers.ts';
import type { Credentials, Operation } from './operation.ts';

/** What requests are refused with, by status: from the one table of errors. */

/** Of any request, for it may be one that cannot be read, and we may be at fault. */
const anywhere: readonly ErrorCode[] = [
  'invalid_input',
  'malformed_json',
  'malformed_request',
  'request_timeout',
  'payload_too_large',
  'uri_too_long',
  'unsupported_media_type',
  'expectation_failed',
  'headers_too_large',
  'internal',
  'timeout',
];
/** Of any request that finds a tenant. */
const ofTenant: readonly ErrorCode[] = [
  'tenant_mismatch',
  'tenant_suspended',
  'rate_limited',
  'unavailable',
  'tenant_migrating',
];
const by: Readonly<Record<Credentials, readonly ErrorCode[]>> = {
  tenant: [...ofTenant, 'unauthenticated', 'forbidden'],
  body: [...ofTenant, 'invalid_credentials', 'tenant_moving'],
  none: [],
};

/** @param operation of which the rest does not matter */
export function problemCodes({
  credentials = 'tenant',
  problems = [],
}: Pick<Operation, 'credentials' | 'problems'>): ReadonlySet<ErrorCode> {
  return new Set([...anywhere, ...by[credentials], ...problems]);
}

/** By status, ascending. */
export function byStatus(codes: ReadonlySet<ErrorCode>): Map<number, ErrorCode[]> {
  const statuses = new Map<number, ErrorCode[]>();
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    if (!codes.has(code)) continue;
    const { status } = errorTable[code];
    statuses.set(status, [...(statuses.get(status) ?? []), code]);
  }
  return new Map([...statuses].toSorted(([a], [b]) => a - b));
}

export function problemHeaders(status: number): readonly AnswerHeader[] {
  if (status === 401) return ['WWW-Authenticate'];
  if (status === 415) return ['Accept-Encoding', 'Accept-Patch'];
  return status === 409 || status === 429 || status >= 500 ? ['Retry-After'] : [];
}

/** RFC 9457. @param codes of all operations together */
export function problemSchema(codes: readonly ErrorCode[]): z.ZodType {
  const fault = z
    .strictObject({
      pointer: z
        .string()
        .meta({ description: 'A JSON pointer (RFC 6901) into the body, or the name of a parameter.' }),
      code: z.string(),
      message: z.string(),
    })
    .meta({ id: 'Fault', description: 'One thing that is wrong with one place of the input.' });
  return z
    .strictObject({
      type: z.string().meta({ description: '`urn:tenantry:problem:` and the code.' }),
      title: z.string(),
      status: z.int(),
      detail: z.string().meta({ description: 'For people; it may change.' }),
      code: z.enum(codes).meta({ description: 'For programs; it stays.' }),
      requestId: z.string().meta({ description: 'As `X-Request-Id`.' }),
      errors: z.array(fault),
    })
    .meta({ description: 'RFC 9457.' });
}

/** `code`s of one status, in words. */
export function wordsOf(codes: readonly ErrorCode[]): string {
  return codes.map((code) => `\`${code}\`: ${errorTable[code].title}.`).join(' ');
}
