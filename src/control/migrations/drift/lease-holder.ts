import type { ReadSession } from '../../../db/index.ts';

/** Who is at work at the whole fleet; undefined: nobody. */
export async function leaseHolder(session: ReadSession): Promise<string | undefined> {
  const [row] = await session.query<{ holder: string }>(
    'select holder from control.migration_lease where expires_at > now()',
  );
  return row?.holder;
}
