import { type ClientBase, Query } from 'pg';

/**
 * A whole transaction as one message: one round trip, however many statements. PostgreSQL carries them out one after the
 * other, each with a snapshot of its own, and leaves out all that follow one that fails.
 *
 * It is committed without anybody being asked again, so what must hold for that is one of the statements, and fails when
 * it does not hold: `select 1 / (…)::int`.
 *
 * @param statements without parameters; their settings are `set local`
 * @param onRow told of each row that they return
 * @throws as PostgreSQL says it; the transaction has been rolled back, unless the connection is gone
 */
export async function runWhole(
  client: ClientBase,
  statements: readonly string[],
  onRow: (row: object) => void = () => undefined,
): Promise<void> {
  try {
    // The semicolon on a line of its own: a statement may end in a comment.
    await send(client, ['begin', ...statements, 'commit'].join('\n;\n'), onRow);
  } catch (error) {
    // Whatever the state seems to be: it is known only when PostgreSQL has answered once more.
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

function send(client: ClientBase, text: string, onRow: (row: object) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const query = new Query<object>(text);
    query.on('row', onRow);
    query.on('end', () => resolve());
    query.on('error', reject);
    client.query(query);
  });
}
