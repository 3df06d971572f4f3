import createKnex, { type Knex } from 'knex';
import { v7 as uuidv7 } from 'uuid';
import { notFound } from '../errors.ts';
import { type AuditedChange, auditedText, authorValues, isOperator } from './audit.ts';
import { type ReadSession, tenantOf, type WriteSession } from './session.ts';
import type {
  ColumnType,
  Own,
  PageRequest,
  Period,
  Stamped,
  Table,
  TableDefinition,
} from './table-contract.ts';

/**
 * The repository kernel: every statement names the tenant of its session and leaves out what is deleted, so a feature
 * cannot forget either (row level security stands behind it). Fixed statements are text; knex, not connected to
 * anything, compiles the ones with filters.
 */

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
  const returned = `tenant_id, ${selection}`;
  const ofRow = `t.tenant_id, ${Object.keys(types)
    .map((field) => `t.${column(field)} as "${field}"`)
    .join(', ')}`;
  const live = `from ${name} where tenant_id = $1 and deleted_at is null`;
  const touched = 'version = version + 1, updated_at = now()';
  const touchedRow = 'version = t.version + 1, updated_at = now()';
  const secret = new Set<string>(definition.secret);
  const audited = definition.audit !== 'none';
  const shown = Object.keys(types)
    .map((field) => `"${field}"`)
    .join(', ');
  const whole = snapshot(ownFields, (field) => `changed."${field}"`);

  function column(field: string): string {
    if (!(field in types)) throw new Error(`${name} has no field ${field}`);
    return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  }

  function builder(session: ReadSession, where: Partial<Row>, period: Period = {}): Knex.QueryBuilder {
    const query = compiler(name)
      .where({ tenant_id: tenantOf(session) })
      .whereNull('deleted_at');
    if (period.from !== undefined) void query.where('created_at', '>=', period.from);
    if (period.to !== undefined) void query.where('created_at', '<', period.to);
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

  /** By what makes them differ: making one takes longer than the rest of the way to PostgreSQL. */
  const texts = new Map<string, string>();

  function textOf(shape: string, make: () => string): string {
    const known = texts.get(shape);
    if (known !== undefined) return known;
    const text = make();
    texts.set(shape, text);
    return text;
  }

  /**
   * A statement that changes rows, and its event.
   *
   * @param parts of its text; `before` and `after` are expressions over what it returns
   * @param shape what tells its text from others of the operation; null when there are too many to keep
   */
  function change<Result extends object = Row>(
    session: WriteSession,
    [operation, verb]: readonly [keyof Table<Row>, 'create' | 'update' | 'delete' | 'restore'],
    values: readonly unknown[],
    parts: () => Pick<AuditedChange, 'change'> & Partial<AuditedChange>,
    shape: string | null = '',
  ): Promise<Result[]> {
    const told = audited && isOperator(session);
    const make = () => {
      const { leading = '', result = shown, change: text, before = 'null', after = 'null' } = parts();
      if (!audited) return `with ${leading}changed as (${text}) select ${result} from changed`;
      const event = {
        action: `${name}.${verb}`,
        resource: name,
        leading,
        change: text,
        before,
        after,
        result,
      };
      return auditedText(event, values.length, told);
    };
    const text = shape === null ? make() : textOf(`${operation} ${told} ${shape}`, make);
    return ask<Result>(
      session,
      operation,
      text,
      audited ? [...values, ...authorValues(session.author)] : values,
    );
  }

  /** These fields of a row, as the audit keeps them. That a secret changed is told, and not from what to what. */
  function snapshot(fields: readonly string[], value: (field: string) => string, secretIs?: string): string {
    const pairs = fields.flatMap((field) => {
      if (!secret.has(field)) return [`'${field}', ${value(field)}`];
      return secretIs === undefined ? [] : [`'${field}', '${secretIs}'::text`];
    });
    return `jsonb_build_object(${pairs.join(', ')})`;
  }

  const findText = `select ${selection} ${live} and id = $2`;
  const find = async (session: ReadSession, id: string, lock = false): Promise<Row | undefined> => {
    const text = lock ? `${findText} for update` : findText;
    return (await ask(session, 'find', text, [tenantOf(session), id]))[0];
  };

  const requireRow = (row: Row | undefined): Row => {
    if (row === undefined) throw notFound();
    return row;
  };

  const insertText = (count: number): string => {
    const width = 1 + ownFields.length;
    const place = (at: number) => Array.from({ length: width }, (_, i) => `$${2 + at * width + i}`);
    const tuples = Array.from({ length: count }, (_, at) => `($1, ${place(at).join(', ')})`);
    return `insert into ${name} (tenant_id, id, ${ownFields.map(column).join(', ')}) values ${tuples.join(', ')} returning ${returned}`;
  };

  function insertChunk(session: WriteSession, values: readonly Own<Row>[]): Promise<Row[]> {
    const parameters: unknown[] = [tenantOf(session)];
    for (const value of values as readonly Record<string, unknown>[]) {
      parameters.push(uuidv7(), ...ownFields.map((field) => value[field] ?? null));
    }
    const parts = () => ({ change: insertText(values.length), after: whole });
    return change(session, ['insert', 'create'], parameters, parts, values.length === 1 ? 'one' : null);
  }

  async function insertMany(session: WriteSession, values: readonly Own<Row>[]): Promise<Row[]> {
    const rows: Row[] = [];
    for (let start = 0; start < values.length; start += rowsPerInsert) {
      rows.push(...(await insertChunk(session, values.slice(start, start + rowsPerInsert))));
    }
    return rows;
  }

  function pageText(session: ReadSession, request: PageRequest<Row>): string {
    const { sort, after, where = {}, period = {} } = request;
    const fields = Object.entries(where).map(([field, value]) => (value === null ? `no ${field}` : field));
    const bounds = [period.from && '>=', period.to && '<', after && 'after'];
    return textOf(['page', sort.direction, sort.field, ...bounds, ...fields].join(' '), () => {
      const by = column(sort.field);
      const query = builder(session, where, period).select(compiler.raw(selection)).limit(1);
      void query.orderBy([by, 'id'].map((each) => ({ column: each, order: sort.direction })));
      if (after !== undefined) {
        const beyond = `(${by}, id) ${sort.direction === 'asc' ? '>' : '<'} (?::${types[sort.field]}, ?::uuid)`;
        void query.whereRaw(beyond, [after.value, after.id]);
      }
      return query.toSQL().toNative().sql;
    });
  }

  /** In the order in which `pageText` asks for them. */
  function pageValues(session: ReadSession, { limit, after, where = {}, period = {} }: PageRequest<Row>) {
    const given = [period.from, period.to, ...Object.values(where)].filter(
      (value) => value !== undefined && value !== null,
    );
    return [tenantOf(session), ...given, ...(after ? [after.value, after.id] : []), limit + 1];
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

    async page(session, request) {
      const { limit, sort } = request;
      const rows = await ask(session, 'page', pageText(session, request), pageValues(session, request));
      const shown = rows.slice(0, limit);
      const last = shown.at(-1);
      const more = rows.length > limit && last !== undefined;
      return {
        rows: shown,
        next: more ? { value: last[sort.field] as string | number, id: last.id } : undefined,
      };
    },

    async count(session, where = {}, period = {}) {
      const query = builder(session, where, period).count({ n: '*' });
      const rows = await run<{ n: number }>(session, 'count', query);
      return rows[0]?.n ?? 0;
    },

    async insert(session, values) {
      return requireRow((await insertChunk(session, [values]))[0]);
    },
    insertMany,

    async update(session, id, changes) {
      const fields = ownFields.filter((field) => (changes as Record<string, unknown>)[field] !== undefined);
      const given = fields.map((field) => (changes as Record<string, unknown>)[field]);
      const values = [tenantOf(session), id, ...given];
      const parts = () => {
        const set = [...fields.map((field, index) => `${column(field)} = $${index + 3}`), touchedRow];
        return {
          // Locked, so that what it tells is what is overwritten and not what a neighbour has replaced meanwhile.
          leading: `prior as (select * ${live} and id = $2 for no key update), `,
          change: `update ${name} t set ${set.join(', ')} from prior
            where t.tenant_id = $1 and t.id = prior.id and t.deleted_at is null
            returning ${ofRow}, ${snapshot(fields, (field) => `prior.${column(field)}`)} as audit_before`,
          before: 'changed.audit_before',
          after: snapshot(fields, (field) => `changed."${field}"`, 'changed'),
        };
      };
      return requireRow((await change(session, ['update', 'update'], values, parts, fields.join(' ')))[0]);
    },

    async updateEach(session, field, values) {
      const parts = () => ({
        leading: `prior as (
          select t.*, v.value as audit_value
          from unnest($2::uuid[], $3::${types[field]}[]) as v(id, value) join ${name} t on t.id = v.id
          where t.tenant_id = $1 and t.deleted_at is null order by t.id for no key update of t), `,
        change: `update ${name} t set ${column(field)} = prior.audit_value, ${touchedRow}
          from prior where t.tenant_id = $1 and t.id = prior.id and t.deleted_at is null
          returning ${ofRow}, ${snapshot([field], () => `prior.${column(field)}`)} as audit_before`,
        before: 'changed.audit_before',
        after: snapshot([field], () => `changed."${field}"`, 'changed'),
        result: '"id"',
      });
      const given = [tenantOf(session), [...values.keys()], [...values.values()]];
      await change(session, ['updateEach', 'update'], given, parts, field);
    },

    async touch(session, id, field) {
      const text = `update ${name} set ${column(field)} = now() where tenant_id = $1 and id = $2 and deleted_at is null`;
      await ask(session, 'touch', text, [tenantOf(session), id]);
    },

    async softDelete(session, id) {
      const deletionId = uuidv7();
      const parts = () => ({
        change: `update ${name} set deleted_at = now(), deletion_id = $3, ${touched}
          where tenant_id = $1 and id = $2 and deleted_at is null returning ${returned}`,
        before: whole,
        result: '"id"',
      });
      const rows = await change(
        session,
        ['softDelete', 'delete'],
        [tenantOf(session), id, deletionId],
        parts,
      );
      if (rows.length === 0) throw notFound();
      return { deletionId };
    },

    async softDeleteWhere(session, where, { deletionId }) {
      const gone = { deleted_at: compiler.fn.now(), deletion_id: deletionId, updated_at: compiler.fn.now() };
      const query = builder(session, where).update({ ...gone, version: compiler.raw('version + 1') });
      const { sql, bindings } = query.toSQL().toNative();
      const parts = () => ({ change: `${sql} returning ${returned}`, before: whole, result: '"id"' });
      await change(session, ['softDeleteWhere', 'delete'], bindings, parts, null);
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
      const parts = () => ({
        change: `update ${name} set deleted_at = null, deletion_id = null, ${touched}
          where tenant_id = $1 and id = $2 returning ${returned}`,
        after: whole,
      });
      const restored = await change(session, ['restore', 'restore'], [tenantOf(session), id], parts);
      return { row: requireRow(restored[0]), deletion: { deletionId } };
    },

    async restoreWith(session, { deletionId }) {
      const parts = () => ({
        change: `update ${name} set deleted_at = null, deletion_id = null, ${touched}
          where tenant_id = $1 and deletion_id = $2 returning ${returned}`,
        after: whole,
        result: '"id"',
      });
      await change(session, ['restoreWith', 'restore'], [tenantOf(session), deletionId], parts);
    },
  };
}
