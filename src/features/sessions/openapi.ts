import { requestHeaders } from '../../http/openapi/headers.ts';
import type { Operations } from '../../http/openapi/operation.ts';
import { shownOf } from '../../http/openapi/resource-operations.ts';
import { user } from '../users/schema.ts';
import { changePasswordSchema, loginSchema, logoutSchema, refreshSchema, tokenView } from './schema.ts';

const tag = 'Sessions';
/** These routes offer more than others. */
const readConsistency = {
  in: 'header',
  name: 'Read-Consistency',
  description: 'How fresh reads must be: `strong`, as without it, or less.',
  schema: { type: 'string', pattern: String.raw`^(strong|session|any|bounded; ms=\d{1,7})$` },
} as const;
const refreshToken = 'rt_0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10_p6yWmcZl0d3vB1uGxkq2nO4sT7eH9aJfRtCbLwVyIiE';
const tokens = {
  schema: tokenView.meta({ id: 'Tokens' }),
  example: {
    accessToken: 'eyJhbGciOiJIUzI1NiJ9.e30.s1gnature',
    refreshToken,
    tokenType: 'Bearer',
    expiresIn: 900,
  },
};

export const authOperations: Operations = {
  'POST /login': {
    tag,
    credentials: 'body',
    id: 'login',
    summary: 'Log in',
    description:
      '`X-Tenant-ID` names the tenant. An unknown tenant, an unknown address and a wrong password are answered alike; after too many of them it is 429 for a while.',
    parameters: [{ ...requestHeaders['X-Tenant-ID'], in: 'header', name: 'X-Tenant-ID', required: true }],
    body: {
      schema: loginSchema.meta({ id: 'Login' }),
      example: { email: 'owner@acme.test', password: 'demo-password' },
    },
    answers: [{ status: 200, description: 'Tokens.', ...tokens }],
    problems: ['tenant_required'],
  },
  'POST /refresh': {
    tag,
    credentials: 'body',
    id: 'refresh',
    summary: 'Exchange a refresh token for new tokens',
    description: 'Each is good once; one that comes a second time was stolen, and its family ends.',
    headers: ['X-Tenant-ID'],
    body: { schema: refreshSchema.meta({ id: 'Refresh' }), example: { refreshToken } },
    answers: [{ status: 200, description: 'The next ones.', ...tokens }],
  },
  'POST /logout': {
    tag,
    credentials: 'body',
    id: 'logout',
    summary: 'End a session, or all of the user',
    headers: ['X-Tenant-ID'],
    body: { schema: logoutSchema.meta({ id: 'Logout' }), example: { refreshToken, everywhere: false } },
    answers: [{ status: 204, description: 'It has ended, or had before.' }],
  },
};

export const meOperations = (): Operations => ({
  'GET /': {
    tag,
    id: 'getMe',
    summary: 'The user who asks',
    parameters: [readConsistency],
    answers: [
      {
        status: 200,
        description: 'The user.',
        schema: shownOf(user),
      },
    ],
    problems: ['not_found'],
  },
  'POST /password': {
    tag,
    id: 'changePassword',
    summary: 'Change the own password',
    description: 'Ends all other sessions of the user.',
    parameters: [readConsistency],
    headers: ['Idempotency-Key'],
    body: {
      schema: changePasswordSchema.meta({ id: 'PasswordChange' }),
      example: { currentPassword: 'demo-password', newPassword: 'correct horse battery' },
    },
    answers: [{ status: 204, description: 'It has been changed.', headers: ['Idempotency-Replayed'] }],
    problems: [
      ...(['not_found', 'invalid_credentials', 'conflict', 'unprocessable'] as const),
      ...(['tenant_moving', 'request_under_way', 'idempotency_key_reused'] as const),
    ],
  },
});
