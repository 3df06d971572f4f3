import createKnex, { type Knex } from 'knex';
import { v7 as uuidv7 } from 'uuid';
import { AppError, notFound } from '../errors.ts';
import type { ConstraintTable } from './pg-errors.ts';
import type { ReadSession, WriteSession } from './session.ts';

/**
 * The repository kernel: every statement names the tenant of its session and leaves out what is deleted, so a feature
 * cannot forget either (row level security stands behind it). Fixed statements are text; knex, not connected to
 * anything, compiles the ones with filters.
 */

/** What `tenantTable()` stamps on every table, as the application sees it. */
export interface Stamped {
  id: string;
  /** 1 at first; one more with every change. */
  version: number;
  createdAt: string;
  updatedAt: string;
}

/** PostgreSQL's name of the type, for casts of parameters. */
export type ColumnType = 'uuid' | 'text' | 'integer' | 'bigint' | 'timestamptz';

export interface TableDefinition<Row extends Stamped> {
  name: string;
  /** The table's own columns; `priceCents` stands for the column `price_cents`. */
  columns: Record<Exclude<keyof Row & string, keyof Stamped>, ColumnType>;
  /** What a violated constraint means to a client. */
  constraints?: ConstraintTable;
}

export type Direction = 'asc' | 'desc';

export interface PageRequest<Row> {
  /** 1 to 100. */
  limit: number;
  sort: { field: keyof Row & string; direction: Direction };
  /** Where the previous page ended: the sort value and id of its last row. */
  after?: { value: string | number; id: string };
  /** Rows equal in all these fields. */
  where?: Partial<Row>;
}

export interface Page<Row> {
  rows: Row[];
  /** To be given as `after` for the next page; undefined at the end. */
  next: { value: string | number; id: string } | undefined;
}

/** A deletion, named so that exactly what it removed can be brought back. */
export interface Deletion {
  deletionId: string;
}

type Own<Row extends Stamped> = Omit<Row, keyof Stamped>;
/** A field that is undefined stays as it is. */
type Changes<Row extends Stamped> = { [Field in keyof Own<Row>]?: Own<Row>[Field] | undefined };

export interface Table<Row extends Stamped> {
  find(session: ReadSession, id: string): Promise<Row | undefined>;
  /** @throws AppError not_found for an unknown, deleted or foreign id, in the same words */
  require(session: ReadSession, id: string, options?: { lock?: boolean }): Promise<Row>;
  /**
   * Those of `ids` that exist, in the order of their ids. With `lock` they are locked, in that order, until the unit of
   * work ends, so that two units never wait for each other.
   */
  findMany(session: ReadSession, ids: readonly string[], options?: { lock?: boolean }): Promise<Row[]>;
  /** Rows equal in all these fields, oldest first. The caller knows that they are few. */
  findWhere(session: ReadSession, where: Partial<Row>): Promise<Row[]>;
  /** Rows whose `field` is one of `values`, oldest first: one statement for the children of a whole page. */
  findIn(session: ReadSession, field: keyof Row & string, values: readonly string[]): Promise<Row[]>;
  /** Keyset pagination; rows with equal sort values are told apart by id. */
  page(session: ReadSession, request: PageRequest<Row>): Promise<Page<Row>>;
  count(session: ReadSession, where?: Partial<Row>): Promise<number>;
  /** The id is a new uuid v7. */
  insert(session: WriteSession, values: Own<Row>): Promise<Row>;
  /** All or nothing, in the order given; statements of up to 1,000 rows. */
  insertMany(session: WriteSession, values: readonly Own<Row>[]): Promise<Row[]>;
  /** @throws AppError not_found */
  update(session: WriteSession, id: string, changes: Changes<Row>): Promise<Row>;
  /** Each id gets its own value of one field, in one statement. Ids that are not there are left out. */
  updateEach<Field extends keyof Own<Row> & string>(
    session: WriteSession,
    field: Field,
    values: ReadonlyMap<string, Row[Field]>,
  ): Promise<void>;
  /** @throws AppError not_found, also for what is deleted already */
  softDelete(session: WriteSession, id: string): Promise<Deletion>;
  /** Deletes what is still there of the rows equal in all these fields, as a part of another deletion. */
  softDeleteWhere(session: WriteSession, where: Partial<Row>, deletion: Deletion): Promise<void>;
  /**
   * Brings a row back; one that is not deleted is returned as it is.
   *
   * @throws AppError not_found, or what `constraints` says when its place has been taken meanwhile
   */
  restore(session: WriteSession, id: string): Promise<{ row: Row; deletion: Deletion | undefined }>;
  /** Brings back what went with a deletion. */
  restoreWith(session: WriteSession, deletion: Deletion): Promise<void>;
}

/** Only a compiler: it has no connection and cannot get one. */
const compiler = createKnex({ client: 'pg' });
const rowsPerInsert = 1000;

export function defineTable<Row extends Stamped>(definition: TableDefinition<Row>): Table<Row> {
  const { name, constraints = {} } = definition;
  const types: Record<string, ColumnType> = {
    id: 'uuid',
    ...definition.columns,
    version: 'integer',
    createdAt: 'timestamptz',
    updatedAt: 'timestamptz',
  };
  const ownFields = Object.keys(definition.columns);
  const selection = Object.keys(types)
    .map((field) => `${column(field)} as "${field}"`)
    .join(', ');
  const live = `from ${name} where tenant_id = $1 and deleted_at is null`;
  const touched = 'version = version + 1, updated_at = now()';

  function column(field: string): string {
    if (!(field in types)) throw new Error(`${name} has no field ${field}`);
    return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  }

  function builder(session: ReadSession, where: Partial<Row>): Knex.QueryBuilder {
    const query = compiler(name)
      .where({ tenant_id: tenantOf(session) })
      .whereNull('deleted_at');
    for (const [field, value] of Object.entries(where)) {
      if (value === null) void query.whereNull(column(field));
      else void query.where(column(field), value as string | number);
    }
    return query;
  }

  /** One statement under the name that logs and traces know it by, such as `products.page`. */
  function ask<Result extends object = Row>(
    session: ReadSession,
    operation: keyof Table<Row>,
    text: string,
    values: readonly unknown[],
  ): Promise<Result[]> {
    return session.query<Result>(text, values, constraints, `${name}.${operation}`);
  }

  async function run<Result extends object = Row>(
    session: ReadSession,
    operation: keyof Table<Row>,
    query: Knex.QueryBuilder,
  ): Promise<Result[]> {
    const { sql, bindings } = query.toSQL().toNative();
    return ask<Result>(session, operation, sql, bindings);
  }

  const find = async (session: ReadSession, id: string, lock = false): Promise<Row | undefined> => {
    const text = `select ${selection} ${live} and id = $2${lock ? ' for update' : ''}`;
    const rows = await ask(session, 'find', text, [tenantOf(session), id]);
    return rows[0];
  };

  const requireRow = (row: Row | undefined): Row => {
    if (row === undefined) throw notFound();
    return row;
  };

  async function insertChunk(session: WriteSession, values: readonly Own<Row>[]): Promise<Row[]> {
    const fields = ['id', ...ownFields];
    const parameters: unknown[] = [tenantOf(session)];
    const tuples = values.map((value) => {
      const withId: Record<string, unknown> = { ...value, id: uuidv7() };
      const places = fields.map((field) => `$${parameters.push(withId[field] ?? null)}`);
      return `($1, ${places.join(', ')})`;
    });
    return ask(
      session,
      'insert',
      `insert into ${name} (tenant_id, ${fields.map(column).join(', ')}) values ${tuples.join(', ')} returning ${selection}`,
      parameters,
    );
  }

  async function insertMany(session: WriteSession, values: readonly Own<Row>[]): Promise<Row[]> {
    const rows: Row[] = [];
    for (let start = 0; start < values.length; start += rowsPerInsert) {
      rows.push(...(await insertChunk(session, values.slice(start, start + rowsPerInsert))));
    }
    return rows;
  }

  return {
    find: (session, id) => find(session, id),
    require: async (session, id, options) => requireRow(await find(session, id, options?.lock)),
    findMany: (session, ids, options) =>
      ask(
        session,
        'findMany',
        `select ${selection} ${live} and id = any($2::uuid[]) order by id${options?.lock ? ' for update' : ''}`,
        [tenantOf(session), ids],
      ),
    findWhere: (session, where) =>
      run(session, 'findWhere', builder(session, where).select(compiler.raw(selection)).orderBy('id')),
    findIn: (session, field, values) =>
      ask(
        session,
        'findIn',
        `select ${selection} ${live} and ${column(field)} = any($2::${types[field]}[]) order by id`,
        [tenantOf(session), values],
      ),

    async page(session, { limit, sort, after, where = {} }) {
      const by = column(sort.field);
      const query = builder(session, where)
        .select(compiler.raw(selection))
        .orderBy([
          { column: by, order: sort.direction },
          { column: 'id', order: sort.direction },
        ])
        .limit(limit + 1);
      if (after !== undefined) {
        const beyond = sort.direction === 'asc' ? '>' : '<';
        void query.whereRaw(`(??, id) ${beyond} (?::${types[sort.field]}, ?::uuid)`, [
          by,
          after.value,
          after.id,
        ]);
      }
      const rows = await run(session, 'page', query);
      const shown = rows.slice(0, limit);
      const last = shown.at(-1);
      const more = rows.length > limit && last !== undefined;
      return {
        rows: shown,
        next: more ? { value: last[sort.field] as string | number, id: last.id } : undefined,
      };
    },

    async count(session, where = {}) {
      const rows = await run<{ n: number }>(session, 'count', builder(session, where).count({ n: '*' }));
      return rows[0]?.n ?? 0;
    },

    async insert(session, values) {
      return requireRow((await insertChunk(session, [values]))[0]);
    },
    insertMany,

    async update(session, id, changes) {
      const fields = ownFields.filter((field) => (changes as Record<string, unknown>)[field] !== undefined);
      const values = fields.map((field) => (changes as Record<string, unknown>)[field]);
      const set = [...fields.map((field, index) => `${column(field)} = $${index + 3}`), touched].join(', ');
      const rows = await ask(
        session,
        'update',
        `update ${name} set ${set} where tenant_id = $1 and id = $2 and deleted_at is null returning ${selection}`,
        [tenantOf(session), id, ...values],
      );
      return requireRow(rows[0]);
    },

    async updateEach(session, field, values) {
      await ask(
        session,
        'updateEach',
        `update ${name} t set ${column(field)} = v.value, ${touched}
         from unnest($2::uuid[], $3::${types[field]}[]) as v(id, value)
         where t.tenant_id = $1 and t.id = v.id and t.deleted_at is null`,
        [tenantOf(session), [...values.keys()], [...values.values()]],
      );
    },

    async softDelete(session, id) {
      const deletionId = uuidv7();
      const rows = await ask(
        session,
        'softDelete',
        `update ${name} set deleted_at = now(), deletion_id = $3, ${touched}
         where tenant_id = $1 and id = $2 and deleted_at is null returning id`,
        [tenantOf(session), id, deletionId],
      );
      if (rows.length === 0) throw notFound();
      return { deletionId };
    },

    async softDeleteWhere(session, where, { deletionId }) {
      const gone = { deleted_at: compiler.fn.now(), deletion_id: deletionId, updated_at: compiler.fn.now() };
      const query = builder(session, where).update({ ...gone, version: compiler.raw('version + 1') });
      await run(session, 'softDeleteWhere', query);
    },

    async restore(session, id) {
      const found = await ask<{ deletionId: string | null }>(
        session,
        'restore',
        `select deletion_id as "deletionId" from ${name} where tenant_id = $1 and id = $2 for update`,
        [tenantOf(session), id],
      );
      if (found[0] === undefined) throw notFound();
      const { deletionId } = found[0];
      if (deletionId === null) return { row: requireRow(await find(session, id)), deletion: undefined };
      await ask(
        session,
        'restore',
        `update ${name} set deleted_at = null, deletion_id = null, ${touched} where tenant_id = $1 and id = $2`,
        [tenantOf(session), id],
      );
      return { row: requireRow(await find(session, id)), deletion: { deletionId } };
    },

    async restoreWith(session, { deletionId }) {
      await ask(
        session,
        'restoreWith',
        `update ${name} set deleted_at = null, deletion_id = null, ${touched}
         where tenant_id = $1 and deletion_id = $2`,
        [tenantOf(session), deletionId],
      );
    },
  };
}

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

function tenantOf(session: ReadSession): string {
  if (session.tenant === undefined) {
    throw new AppError('internal', 'A tenant table was used without a tenant.');
  }
  return session.tenant.id;
}
