import { afterAll, beforeAll } from '@jest/globals';
import { createClone, query, type TestDatabase, testDatabase } from './clone.ts';
import { postgresVariable, templateDatabase, type TestPostgres } from './provider.ts';

export type { TestDatabase } from './clone.ts';

export function testPostgres(): TestPostgres {
  const text = process.env[postgresVariable];
  if (text === undefined) throw new Error('The global set-up has not run');
  return JSON.parse(text) as TestPostgres;
}

const users = new WeakMap<TestDatabase, (() => Promise<void>)[]>();

/** Jest runs afterAll() in the order of definition: who works on a database must have stopped before it is gone. */
export function beforeDrop(database: TestDatabase, stop: () => Promise<void>): void {
  users.set(database, [...(users.get(database) ?? []), stop]);
}

export async function stopUsers(database: TestDatabase): Promise<void> {
  for (const stop of users.get(database) ?? []) await stop();
}

let made = 0;

/**
 * To be called at the top of a test file: makes the database before its tests and drops it after them.
 *
 * @param options empty: without a single migration
 */
export function useDatabase({ empty = false } = {}): TestDatabase {
  made += 1;
  const name = `tenantry_test_${process.env['JEST_WORKER_ID'] ?? '0'}_${process.pid}_${made}`;
  const database = testDatabase(testPostgres(), name);
  beforeAll(() => createClone(testPostgres(), name, empty ? 'template0' : templateDatabase));
  afterAll(async () => {
    await stopUsers(database);
    await query(testPostgres().primaryUrl, `drop database if exists ${name} with (force)`);
  });
  return database;
}
