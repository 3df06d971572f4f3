import { expect } from '@jest/globals';
import { v7 as uuidv7 } from 'uuid';
import type { ReadSession, Table, WriteSession } from '../../src/db/index.ts';
import { type AnyStamped, type Registered, tenantTables } from './registry.ts';

/** A row, and the deletion that removed it or, for one that is there, a deletion beside it. */
export interface Target {
  id: string;
  /** Of the field `marked`: no other row of the test has it. */
  mark: string | number;
  deletionId: string;
}

export type Run = (session: WriteSession, target: Target) => Promise<unknown>;
/** What is called (the function, then how), the call, and what comes of an id that is not there. */
export type Entry = [title: string, run: Run, absent: unknown];

/** Of a table with a repository. */
export type Spoken = Registered & { repository: Table<AnyStamped> };

export const spoken: readonly [name: string, table: Spoken][] = Object.entries(tenantTables).flatMap(
  ([name, table]) => (table.repository === undefined ? [] : [[name, table as Spoken]]),
);

/** Every function that the kernel gives a table and that takes an id or a value. */
export function functionsOf({ repository, marked, change }: Spoken) {
  const locked = { lock: true } as const;
  const [field = '', value] = Object.entries(change)[0] ?? [];

  const pageOf = (session: ReadSession, request: object) =>
    repository.page(session, { limit: 100, sort: { field: 'id', direction: 'asc' }, ...request });

  async function firstAfter(session: ReadSession, { id }: Target) {
    const before = id.replace(/.{12}$/, '000000000000');
    const { rows } = await pageOf(session, { after: { value: before, id: before } });
    return rows.filter((row) => row.id === id);
  }

  async function upTo(session: ReadSession, { id }: Target) {
    const beyond = id.replace(/.{12}$/, 'ffffffffffff');
    const { rows } = await pageOf(session, { before: { value: beyond, id: beyond } });
    return rows.filter((row) => row.id === id);
  }

  /** Functions that answer with the row of an id or a value. */
  const lookUps: Entry[] = [
    ['find', (s, { id }) => repository.find(s, id), undefined],
    ['require', (s, { id }) => repository.require(s, id), 'not_found'],
    ['require, locked', (s, { id }) => repository.require(s, id, locked), 'not_found'],
    ['findMany', (s, { id }) => repository.findMany(s, [id]), []],
    ['findMany, locked', (s, { id }) => repository.findMany(s, [id], locked), []],
    ['findWhere', (s, { id }) => repository.findWhere(s, { id }), []],
    ['findWhere, by value', (s, { mark }) => repository.findWhere(s, { [marked]: mark }), []],
    ['findIn', (s, { mark }) => repository.findIn(s, marked, [String(mark)]), []],
    ['page', async (s, { id }) => (await pageOf(s, { where: { id } })).rows, []],
    ['page, from just before it', (s, target) => firstAfter(s, target), []],
    ['page, until it', async (s, target) => upTo(s, target), []],
    [
      'estimate',
      async (s, { id }) => Array<string>(await repository.estimate(s, { where: { id } })).fill(id),
      [],
    ],
    ['count', async (s, { id }) => Array<string>(await repository.count(s, { id })).fill(id), []],
  ];

  /** Functions that change a row that is there. */
  const changes: Entry[] = [
    ['update', (s, { id }) => repository.update(s, id, change), 'not_found'],
    ['updateEach', (s, { id }) => repository.updateEach(s, field, new Map([[id, value]])), undefined],
    ['updateSelected', (s, { id }) => repository.updateSelected(s, { where: { id } }, change, 10), 0],
    [
      'softDeleteSelected',
      (s, { id }) => repository.softDeleteSelected(s, { where: { id } }, 10),
      { count: 0, deletion: undefined },
    ],
    ['touch', (s, { id }) => repository.touch(s, id, 'updatedAt'), undefined],
    ['softDelete', (s, { id }) => repository.softDelete(s, id), 'not_found'],
    [
      'softDeleteWhere',
      (s, { id }) => repository.softDeleteWhere(s, { id }, { deletionId: uuidv7() }),
      undefined,
    ],
  ];

  /** Functions that change a row that has been deleted. */
  const returns: Entry[] = [
    ['restore', (s, { id }) => repository.restore(s, id), 'not_found'],
    ['restoreWith', (s, { deletionId }) => repository.restoreWith(s, { deletionId }), undefined],
  ];

  return { lookUps, changes, returns };
}

let marks = 0;

/** A row of the tenant of the session, after the rows that it refers to. */
export async function plant(
  session: WriteSession,
  table: Spoken,
  state: 'live' | 'deleted',
): Promise<Target> {
  const { repository, marked } = table;
  const made = await insert(session, table);
  const { deletionId } = await repository.softDelete(
    session,
    state === 'deleted' ? made.id : (await insert(session, table)).id,
  );
  return { id: made.id, mark: made[marked] as string | number, deletionId };
}

/** A batch, and one of two rows of which the second cannot be where the first is if anything is unique. @returns ids, or null */
export async function plantBatch(session: WriteSession, table: Spoken): Promise<(string | null)[]> {
  const { insertBatch } = table.repository;
  const { ids } = await insertBatch(session, [await valuesOf(session, table)]);
  const row = await valuesOf(session, table);
  return [...ids, ...(await insertBatch(session, [row, row], { skipTaken: true })).ids];
}

async function insert(session: WriteSession, table: Spoken): Promise<AnyStamped> {
  return table.repository.insert(session, await valuesOf(session, table));
}

async function valuesOf(session: WriteSession, table: Spoken): Promise<Record<string, unknown>> {
  const row = { ...table.values((marks += 1)) };
  for (const [field, target] of Object.entries(table.references)) {
    const parent = spoken.find(([name]) => name === target)?.[1];
    if (parent === undefined) throw new Error(`${field} refers to a table that is not registered`);
    row[field] = (await insert(session, parent)).id;
  }
  return row;
}

/** What the event of a change says of its row: those of many rows name them in `after`. */
export function toldOf(title: string, id: unknown): Record<string, unknown> {
  if (!title.endsWith('Selected')) return { resource_id: id };
  return { resource_id: null, after: expect.objectContaining({ count: 1, ids: [id] }) };
}

export function nowhere(): Target {
  return { id: uuidv7(), mark: (marks += 1), deletionId: uuidv7() };
}
