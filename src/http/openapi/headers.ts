import type { oas31 } from 'zod-openapi';
import { slugPattern } from '../../db/index.ts';

/** Every header that the API reads or writes, once. */

const text = (description: string, example: string, pattern?: string): oas31.HeaderObject => ({
  description,
  schema: { type: 'string', ...(pattern === undefined ? {} : { pattern }) },
  example,
});

/** Its sample in words: the forms of /docs are filled with examples, and would send them. */
const given = (description: string, sample: string, pattern?: string): oas31.HeaderObject => {
  const { example: _, ...header } = text(`${description} Such as \`${sample}\`.`, sample, pattern);
  return header;
};

const position = '7412~1~0-3A51C80~mgx2k1c0.Jq0mJp0bT1yYbS3mZq3dXkz0a1Y';
const visible = '^[\\x21-\\x7e]+$';

/** Of requests. */
export const requestHeaders = {
  'X-Tenant-ID': given(
    'Slug or id of the tenant. With a credential it may only repeat what the credential says: another one is 403 `tenant_mismatch`.',
    'acme',
    `${slugPattern.source}|^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`,
  ),
  'X-Request-Id': given(
    'A name for this request; one that is not well-formed is replaced.',
    'order-7f3a',
    '^[\\w.-]{1,128}$',
  ),
  'If-Match': given(
    'Entity tags, as `ETag` gave them: the change is made only to one of these versions, else 412.',
    '"3.k2Jx9w"',
  ),
  'If-None-Match': given('Entity tags that the client has: 304 when nothing has changed.', '"3.k2Jx9w"'),
  'Consistency-Token': given(
    'What an earlier answer gave: this request sees at least what had been written then, by whomever.',
    position,
    visible,
  ),
  'Read-Consistency': given(
    'How fresh reads must be: `session`, as without it, or less.',
    'bounded; ms=500',
    '^(session|any|bounded; ms=\\d{1,7})$',
  ),
  'Idempotency-Key': given(
    'Sent again with the same key, by the same actor to the same route within a day, the request has one effect and one answer.',
    '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10',
    '^("?)[\\w.:~+/=-]{1,255}\\1$',
  ),
} as const satisfies Record<string, oas31.HeaderObject>;
export type RequestHeader = keyof typeof requestHeaders;

/** Of answers. Those without `required` come where there is something to tell. */
export const answerHeaders = {
  'X-Request-Id': {
    ...text(
      "The request's name, which is in every line of the log: the one given, or a new one.",
      '3b0c2c1e-9f51-4d7e-8a55-0c8f6f1f3a10',
      '^[\\w.-]{1,128}$',
    ),
    required: true,
  },
  'Server-Timing': text(
    'How long the answer took, and how much of it PostgreSQL, milliseconds; not of what is no request.',
    'total;dur=3.1, db;dur=1.9',
    '^total;dur=[\\d.]+, db;dur=[\\d.]+$',
  ),
  ETag: { ...text('The version, and what is shown of it.', '"3.k2Jx9w"', '^"[\\w.-]+"$'), required: true },
  Location: {
    ...text('Where the new resource is.', '/v1/products/0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10'),
    required: true,
  },
  'Deletion-Id': text(
    'Of the deletion, and all that went with it, when something has been deleted.',
    '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10',
    '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
  ),
  Link: text(
    'The pages beside this one (RFC 8288), `rel="next"` and `rel="prev"`.',
    '</v1/products?cursor=eyJ2Ijoi>; rel="next"',
    '^<[^>]+>; rel="(next|prev)"(, <[^>]+>; rel="prev")?$',
  ),
  'Served-By': text(
    'Which node answered, why, and its lag in milliseconds.',
    'replica-1; reason=fresh; lag=3',
    '^[\\w-]+; reason=[a-z-]+(; lag=\\d+)?$',
  ),
  'Consistency-Token': text(
    'Of what has been written or, for who sends one, seen. Whoever sends it back sees it, too.',
    position,
    visible,
  ),
  'Idempotency-Replayed': {
    description: 'This is the answer to an earlier request with the same `Idempotency-Key`.',
    schema: { type: 'string', enum: ['true'] },
    example: 'true',
  },
  'RateLimit-Policy': text(
    'What the tenant may have (draft-ietf-httpapi-ratelimit-headers), if it has limits.',
    '"default";q=600;w=60',
  ),
  RateLimit: text('What is left of it.', '"default";r=597;t=41'),
  'Retry-After': text('Seconds after which a repeat makes sense.', '1', '^\\d+$'),
  'Accept-Patch': text(
    'Media types that this address takes.',
    'application/json, application/merge-patch+json',
  ),
  'Accept-Encoding': text(
    'Encodings of bodies that are taken, when that was what is wrong.',
    'gzip, deflate, br',
  ),
  'WWW-Authenticate': { ...text('What is needed.', 'Bearer', '^Bearer'), required: true },
  'Cache-Control': text('For how long the answer may be kept.', 'public, max-age=300'),
} as const satisfies Record<string, oas31.HeaderObject>;
export type AnswerHeader = keyof typeof answerHeaders;
