import { schemaName, type SchemaName, type Tenant, tenantId, type WriteSession } from '../../db/index.ts';
import type { ApplyParts } from './apply.ts';
import type { Rung } from './lock-ladder.ts';
import type { Backfill, Script } from './script.ts';

const firstBatch = 500;
const [leastBatch, mostBatch] = [10, 20_000];
/** A batch that takes longer is followed by a smaller one, a quicker one by a larger. */
const aimMs = 200;

/**
 * Rewrites rows of one schema, tenant by tenant, a few at a time and each time in a transaction of its own, so that
 * nobody waits long for a row and replicas keep up. What a run has done before it was killed is not done again: the
 * condition does not hold there any more.
 */
export async function runBackfill(
  parts: Pick<ApplyParts, 'migrator' | 'clock' | 'rest' | 'signal'>,
  schema: SchemaName,
  { step, backfill, statements }: Script,
  { timeoutMs }: Rung,
): Promise<void> {
  if (backfill === undefined || statements.length > 0) {
    throw new Error(`${step}: a step with a backfill executes nothing else.`);
  }
  const { migrator, clock, rest, signal } = parts;
  const tenants = await migrator.inSchema(schema, async (work) => tenantsIn(await work.session(), schema));
  let limit = firstBatch;
  for (const tenant of tenants) {
    let after: string | null = null;
    do {
      signal.throwIfAborted();
      const startedMs = clock.monotonicMs();
      const batch: Batch = await migrator.inSchema(
        schema,
        async (work) => rewrite(await work.session(tenant), backfill, after, limit),
        { lockTimeoutMs: timeoutMs },
      );
      after = batch.last;
      const tookMs = clock.monotonicMs() - startedMs;
      if (batch.rows > 0) await rest(tookMs, signal);
      if (tookMs > aimMs) limit = Math.max(leastBatch, Math.floor(limit / 2));
      else if (batch.rows === limit && tookMs < aimMs / 2) limit = Math.min(mostBatch, limit * 2);
    } while (after !== null);
  }
}

interface Batch {
  rows: number;
  /** Where the next batch goes on; null when there is none. */
  last: string | null;
}

async function rewrite(
  session: WriteSession,
  { table, set, where }: Backfill,
  after: string | null,
  limit: number,
): Promise<Batch> {
  const [batch] = await session.query<Batch>(
    `with chosen as (
       select tenant_id as chosen_tenant, id as chosen_id from ${table}
       where tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid
         and ($1::uuid is null or id > $1) and (${where})
       order by id limit $2
     ), rewritten as (
       update ${table} set ${set} from chosen where tenant_id = chosen_tenant and id = chosen_id and (${where})
       returning 1
     )
     select (select count(*) from rewritten) as rows,
       (select case when count(*) = $2 then max(chosen_id::text) end from chosen) as last`,
    [after, limit],
  );
  if (batch === undefined) throw new Error('A count has a row');
  return batch;
}

/** Those whose rows are there, wherever they are served: a move may have left some behind. */
async function tenantsIn(session: WriteSession, schema: SchemaName): Promise<Tenant[]> {
  const rows = await session.query<{ id: string; slug: string; isolation: Tenant['isolation'] }>(
    `select id, slug, isolation from control.tenants
     where $1 in (schema_name, moved_from) and status not in ('purging', 'purged') order by id`,
    [schema],
  );
  return rows.map(({ id, slug, isolation }) => ({
    id: tenantId(id),
    slug,
    isolation,
    schema: schemaName(schema),
  }));
}
