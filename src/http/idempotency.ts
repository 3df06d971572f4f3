import { createHash, type KeyObject } from 'node:crypto';
import type { Request, Response } from 'express';
import { type Database, findResult, type Once, type TenantScope } from '../db/index.ts';
import { requestUnderWay } from '../errors.ts';
import { requireScope } from './context.ts';
import { idempotencyKeyOf } from './idempotency-key.ts';
import { sealFor } from './sealed-result.ts';

/** Lets a POST of the tenant API have one effect and one answer, however often it is sent with one `Idempotency-Key`. */
export interface Idempotency {
  /**
   * Calls `fn` with the scope of the request. With the header: once for each key, of one actor, at one route, for a day;
   * after that, what it returned then is returned again and the answer says `Idempotency-Replayed: true`. What throws has
   * no effect and may be tried again with the same key.
   *
   * `fn` has one unit of work that writes, `db.write` or `db.writeOne`, and returns what that returned, which must be
   * JSON: the result is kept in its transaction.
   *
   * @param content what is asked for, apart from the address: another one under the same key is refused. The parsed body
   *   by default; for a body that is read as a stream, something as good, such as its hash. It is never stored.
   * @throws AppError invalid_input for a malformed key, idempotency_key_reused, request_under_way
   */
  once<T>(req: Request, res: Response, fn: (scope: TenantScope) => Promise<T>, content?: unknown): Promise<T>;
}

export interface IdempotencyParts {
  db: Pick<Database, 'writeOne'>;
  /** The first seals results, all of them open. */
  secrets: readonly KeyObject[];
}

export function createIdempotency({ db, secrets }: IdempotencyParts): Idempotency {
  /** Of this process: who asks again at once is refused before anything is counted, hashed or locked. */
  const underWay = new Set<string>();

  async function keyed<T>(
    res: Response,
    scope: TenantScope,
    request: RequestOnce,
    fn: (scope: TenantScope) => Promise<T>,
  ): Promise<T> {
    // As a write, on the primary: who is answered again has seen the effect, and the reads that follow must, too.
    const found = await db.writeOne(scope, (session) => findResult(session, request.request));
    const result = found === undefined ? await fn(scopeWith(scope, request)) : (request.open(found) as T);
    if (found !== undefined || request.isReplayed()) res.setHeader('Idempotency-Replayed', 'true');
    return result;
  }

  return {
    async once(req, res, fn, content: unknown = req.body) {
      const scope = requireScope(req);
      const key = idempotencyKeyOf(req);
      if (key === undefined) return fn(scope);
      const request = requestOnce(secrets, nameOf(req, scope, key), [req.originalUrl, content]);
      if (underWay.has(request.request)) throw requestUnderWay();
      underWay.add(request.request);
      try {
        return await keyed(res, scope, request, fn);
      } finally {
        underWay.delete(request.request);
      }
    },
  };
}

/** By the pattern of its route, not its address: one key for two orders is a mistake of the client's, which it is told. */
function nameOf(req: Request, { tenant, actor }: TenantScope, key: string): string {
  return JSON.stringify([tenant.id, actor.kind, actor.id, req.method, req.context.route, key]);
}

interface RequestOnce extends Once {
  isReplayed(): boolean;
}

function requestOnce(secrets: readonly KeyObject[], name: string, content: unknown): RequestOnce {
  let replayed = false;
  return {
    request: createHash('sha256').update(name).digest('base64url'),
    ...sealFor(secrets, name, content),
    replayed() {
      replayed = true;
    },
    isReplayed: () => replayed,
  };
}

/** A new object: the scope of a request without a key has nothing to do with this. */
function scopeWith(scope: TenantScope, once: Once): TenantScope {
  const { tenant, actor, consistency, requestId } = scope;
  return {
    tenant,
    actor,
    consistency,
    requestId,
    get origin() {
      return scope.origin;
    },
    get signal() {
      return scope.signal;
    },
    once,
  };
}
