import { v7 as uuidv7 } from 'uuid';
import { requestUnderWay } from '../errors.ts';
import { type ReadSession, tenantOf, type WriteSession } from './session.ts';

/**
 * A unit of work that is done once, however often it is asked for: what it returned is kept in its own transaction, so
 * that there is never an effect without it, nor the other way round. What fails has no effect, and is not kept.
 *
 * Results are kept for a day. What has expired makes room for what comes, one for one: the application has no right to
 * delete, and a tenant never has more rows than it sent keys on its busiest day.
 */
export interface Once {
  /** Tells it from all other requests of the tenant. Stored as it is. */
  readonly request: string;
  seal(result: unknown): SealedResult;
  /** @throws AppError idempotency_key_reused when it is the result of something else that was asked for */
  open(sealed: SealedResult): unknown;
  /** Told that the unit was not done, because it had been. */
  replayed(): void;
}

/** What a unit returned, such that a look at the table does not tell it. */
export interface SealedResult {
  /** Of what was asked for. */
  readonly digest: string;
  readonly bytes: Buffer;
}

const keptFor = '24 hours';
const expired = `created_at < now() - interval '${keptFor}'`;

/** One statement. Undefined when there is none, or none any more. */
export async function findResult(session: ReadSession, request: string): Promise<SealedResult | undefined> {
  const row = await find(session, request);
  return row?.expired === false ? row : undefined;
}

/**
 * The unit with its claim before it and its result kept after it. Of those who claim the same request at the same time,
 * one is let through.
 *
 * @throws AppError request_under_way, idempotency_key_reused
 * @throws Error for a second unit under the same claim: it would be answered with what the first one returned
 */
export function doneOnce<T>(
  once: Once,
  fn: (session: WriteSession) => Promise<T>,
): (session: WriteSession) => Promise<T> {
  if (begun.has(once)) throw new Error('A request with an Idempotency-Key has one unit of work that writes');
  begun.add(once);
  return async (session) => {
    await claim(session, once.request);
    const found = await find(session, once.request);
    if (found?.expired === false) {
      const result = once.open(found);
      once.replayed();
      return result as T; // what this unit returned, as JSON keeps it
    }
    const result = await fn(session);
    await keep(session, once.request, once.seal(result), found !== undefined);
    return result;
  };
}

const begun = new WeakSet<Once>();

/** Held until the transaction ends. In a statement of its own: the next one must see what the last holder has kept. */
async function claim(session: WriteSession, request: string): Promise<void> {
  const [lock] = await session.query<{ taken: boolean }>(
    'select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as taken',
    [`idempotency ${tenantOf(session)} ${request}`],
    {},
    'idempotency_keys.claim',
  );
  if (lock?.taken !== true) throw requestUnderWay();
}

type Row = SealedResult & { expired: boolean };

async function find(session: ReadSession, request: string): Promise<Row | undefined> {
  const rows = await session.query<Row>(
    `select digest, result as bytes, ${expired} as expired from idempotency_keys
     where tenant_id = $1 and request = $2 and deleted_at is null`,
    [tenantOf(session), request],
    {},
    'idempotency_keys.find',
  );
  return rows[0];
}

/** @param again whether the request has a row, which has expired */
async function keep(
  session: WriteSession,
  request: string,
  { digest, bytes }: SealedResult,
  again: boolean,
): Promise<void> {
  const values = 'digest = $3, result = $4, created_at = now(), updated_at = now()';
  await session.query(
    `with room as (
       select id from idempotency_keys
       where tenant_id = $1 and deleted_at is null and ${expired} and not $5::boolean
       order by created_at limit 1 for update skip locked),
     taken as (
       update idempotency_keys k set request = $2, ${values} from room
       where k.tenant_id = $1 and k.id = room.id returning 1)
     insert into idempotency_keys (tenant_id, id, request, digest, result)
     select $1::uuid, $6::uuid, $2, $3, $4 where not exists (select from taken)
     on conflict (tenant_id, request) where deleted_at is null do update set ${values}`,
    [tenantOf(session), request, digest, bytes, again, uuidv7()],
    {},
    'idempotency_keys.keep',
  );
}
