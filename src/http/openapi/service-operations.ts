import { z } from 'zod';
import type { Answer, Operation, Operations } from './operation.ts';

/** What has to do with no tenant. */

const tag = 'Service';
const open = { tag, credentials: 'none' } as const;

export const healthOperations: Operations = {
  'GET /livez': {
    ...open,
    id: 'getLiveness',
    summary: 'Is the process alive?',
    answers: [
      {
        status: 200,
        description: 'It is.',
        schema: z.strictObject({ status: z.literal('ok') }),
        example: { status: 'ok' },
      },
    ],
  },
  'GET /readyz': {
    ...open,
    id: 'getReadiness',
    summary: 'Should it get traffic?',
    answers: [
      readiness(200, ['ok', 'degraded'], 'Yes; `degraded`: without all of its servers.'),
      readiness(
        503,
        ['draining', 'unavailable'],
        'No: it is on its way out, or the primary does not answer.',
      ),
    ],
  },
};

function readiness(status: number, words: readonly string[], description: string): Answer {
  const [first = ''] = words;
  return {
    status,
    description,
    schema: z.strictObject({
      status: z.enum(words),
      nodes: z.record(z.string(), z.string()).meta({ description: 'State by name.' }),
    }),
    example: { status: first, nodes: { primary: 'fresh', 'replica-1': 'fresh' } },
  };
}

export const jwksOperations: Operations = {
  'GET /jwks.json': {
    ...open,
    id: 'getKeys',
    summary: 'The public keys that access tokens are signed with',
    description: 'A JSON Web Key Set (RFC 7517); empty where tokens are signed with a secret.',
    answers: [
      {
        status: 200,
        description: 'The set.',
        schema: z.strictObject({
          keys: z.array(z.looseObject({ kid: z.string(), kty: z.string(), alg: z.string() })),
        }),
        example: { keys: [] },
        headers: ['Cache-Control'],
      },
    ],
  },
};

export const openApiOperations: Operations = {
  'GET /': {
    ...open,
    id: 'getDescription',
    summary: 'This document',
    headers: ['If-None-Match'],
    answers: [
      {
        status: 200,
        description: 'OpenAPI 3.1.',
        schema: z.looseObject({ openapi: z.string() }),
        headers: ['ETag', 'Cache-Control'],
      },
      { status: 304, description: 'The client has it.', headers: ['ETag', 'Cache-Control'] },
    ],
  },
};

const page: Operation = {
  ...open,
  id: 'getDocs',
  summary: 'This document, to be read and tried',
  answers: [
    {
      status: 200,
      description: 'A page.',
      schema: z.string(),
      type: 'text/html',
      headers: ['Cache-Control'],
    },
    { status: 308, description: 'Its address ends in a slash.', headers: ['Location'] },
  ],
};
export const docsOperations: Operations = { 'GET /': page };
