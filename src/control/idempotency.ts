import type { KeyObject } from 'node:crypto';
import type { Request } from 'express';
import type { ReadSession, WriteSession } from '../db/index.ts';
import { keyReused, requestUnderWay } from '../errors.ts';
import { contentDigest, idempotencyKeyOf } from '../http/idempotency-key.ts';

/**
 * `Idempotency-Key` in the admin API: a request that is repeated has one effect and one answer. The answer is kept in the transaction of
 * the effect, so there is never one without the other; refusals have no effect and are not kept. Per operator and route,
 * for a day.
 */
export interface IdempotentRequest {
  principal: string;
  /** Method and pattern. */
  route: string;
  key: string;
  /** Of the body, keyed: bodies hold passwords. */
  digest: string;
}

export interface KeptAnswer {
  status: number;
  body: object;
}

const keptFor = '24 hours';

/**
 * @param key for digests of bodies, used for nothing else
 * @returns undefined without the header
 * @throws AppError invalid_input
 */
export function idempotentRequest(req: Request, key: KeyObject): IdempotentRequest | undefined {
  const text = idempotencyKeyOf(req);
  if (text === undefined) return undefined;
  return {
    principal: req.context.actor?.id ?? '',
    route: `${req.method} ${req.context.route ?? ''}`,
    key: text,
    digest: contentDigest(key, req.body),
  };
}

/** @throws AppError idempotency_key_reused when the body is another one */
export async function findAnswer(
  session: ReadSession,
  { principal, route, key, digest }: IdempotentRequest,
): Promise<KeptAnswer | undefined> {
  const [row] = await session.query<KeptAnswer & { digest: string }>(
    `select status, body, body_digest as digest from control.idempotency_keys
     where principal = $1 and route = $2 and key = $3 and created_at > now() - interval '${keptFor}'`,
    [principal, route, key],
  );
  if (row === undefined) return undefined;
  if (row.digest !== digest) throw keyReused('This Idempotency-Key was sent with another body before.');
  return { status: row.status, body: row.body };
}

/**
 * To be called first in the transaction of the effect: until it ends, others with the key are refused.
 *
 * @returns the answer of a request that has ended in the meantime
 * @throws AppError request_under_way
 */
export async function claimKey(
  session: WriteSession,
  request: IdempotentRequest,
): Promise<KeptAnswer | undefined> {
  const [lock] = await session.query<{ taken: boolean }>(
    `select pg_try_advisory_xact_lock(hashtextextended('tenantry idempotency ' || $1, 0)) as taken`,
    [JSON.stringify([request.principal, request.route, request.key])],
  );
  if (lock?.taken !== true) throw requestUnderWay();
  return findAnswer(session, request);
}

/** To be called last. @param tenant whose data the answer holds: it goes when the tenant is purged */
export async function keepAnswer(
  session: WriteSession,
  { principal, route, key, digest }: IdempotentRequest,
  { status, body }: KeptAnswer,
  tenant: string,
): Promise<void> {
  await session.query(
    `delete from control.idempotency_keys where created_at < now() - interval '${keptFor}'`,
  );
  await session.query(
    `insert into control.idempotency_keys (principal, route, key, body_digest, status, body, tenant)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [principal, route, key, digest, status, JSON.stringify(body), tenant],
  );
}

/** When a tenant is purged. */
export async function forgetAnswers(session: WriteSession, tenant: string): Promise<void> {
  await session.query('delete from control.idempotency_keys where tenant = $1', [tenant]);
}
