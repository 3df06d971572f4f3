import { v7 as uuidv7 } from 'uuid';
import { tenantOf, type WriteSession } from './session.ts';

/** The next number of a series that has no gaps and no repeats within a tenant, such as order numbers. */
export async function nextNumber(session: WriteSession, series: string): Promise<number> {
  const rows = await session.query<{ value: number }>(
    `insert into counters (tenant_id, id, name, value) values ($1, $2, $3, 1)
     on conflict (tenant_id, name) where deleted_at is null
     do update set value = counters.value + 1, updated_at = now() returning value`,
    [tenantOf(session), uuidv7(), series],
    {},
    'counters.next',
  );
  const value = rows[0]?.value;
  if (value === undefined) throw new Error('A counter gave no number');
  return value;
}
