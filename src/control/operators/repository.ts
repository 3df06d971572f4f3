import { v7 as uuidv7 } from 'uuid';
import type { ReadSession, WriteSession } from '../../db/index.ts';

export interface Operator {
  id: string;
  email: string;
  passwordHash: string;
}

export async function findOperator(session: ReadSession, email: string): Promise<Operator | undefined> {
  const rows = await session.query<Operator>(
    'select id, email, password_hash as "passwordHash" from control.operators where email = $1',
    [email],
  );
  return rows[0];
}

export async function hasOperators(session: ReadSession): Promise<boolean> {
  const rows = await session.query<{ there: boolean }>(
    'select exists (select from control.operators) as there',
  );
  return rows[0]?.there === true;
}

/** Two processes that start at once make one operator: the second insert does nothing and answers undefined. */
export async function insertOperator(
  session: WriteSession,
  { email, passwordHash }: Omit<Operator, 'id'>,
): Promise<string | undefined> {
  const rows = await session.query<{ id: string }>(
    `insert into control.operators (id, email, password_hash) values ($1, $2, $3)
     on conflict (email) do nothing returning id`,
    [uuidv7(), email, passwordHash],
  );
  return rows[0]?.id;
}
