import { v7 as uuidv7 } from 'uuid';
import { AppError, notFound } from '../errors.ts';
import { type AuditedChange, auditedText, authorValues, isOperator } from './audit.ts';
import { tenantOf, type WriteSession } from './session.ts';
import type { Own, Stamped, Table, TableDefinition, Versions } from './table-contract.ts';
import { numbered, partsOf, shapeOf } from './selecting.ts';
import { readingOf } from './table-reading.ts';
import { bulkOf } from './table-bulk.ts';
import { type Ask, createTexts, tableShape } from './table-shape.ts';

/**
 * The repository kernel: every statement names the tenant of its session and leaves out what is deleted, so a feature
 * cannot forget either (row level security stands behind it).
 */

const rowsPerInsert = 1000;
const conflictsTold = 100;

export function defineTable<Row extends Stamped>(definition: TableDefinition<Row>): Table<Row> {
  const { name, constraints = {} } = definition;
  const shape = tableShape(definition);
  const { ownFields, column, type } = shape;
  const selection = shape.selection();
  const returned = `tenant_id, ${selection}`;
  const ofRow = `t.tenant_id, ${shape.selection('t')}`;
  const live = `from ${name} where tenant_id = $1 and deleted_at is null`;
  const touched = 'version = version + 1, updated_at = now()';
  const touchedRow = 'version = t.version + 1, updated_at = now()';
  const secret = new Set<string>(definition.secret);
  const audited = definition.audit !== 'none';
  const shown = shape.fields.map((field) => `"${field}"`).join(', ');
  const whole = snapshot(ownFields, (field) => `changed."${field}"`);

  const texts = createTexts();
  const ask: Ask<Row> = (session, operation, text, values) =>
    session.query(text, values, constraints, `${name}.${operation}`);
  const reading = readingOf(shape, texts, ask);

  /**
   * A statement that changes rows, and its event.
   *
   * @param parts of its text; `before` and `after` are expressions over what it returns
   * @param kind what tells its text from others of the operation; null when there are too many to keep
   */
  function change<Result extends object = Row>(
    session: WriteSession,
    [operation, verb]: readonly [keyof Table<Row>, 'create' | 'update' | 'delete' | 'restore'],
    values: readonly unknown[],
    parts: () => Pick<AuditedChange, 'change'> & Partial<AuditedChange>,
    kind: string | null = '',
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
    const text = texts.of(kind === null ? undefined : `${operation} ${told} ${kind}`, make);
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

  /** @throws AppError not_found, precondition_failed, before anything is changed */
  async function requireVersion(session: WriteSession, id: string, versions: Versions | undefined) {
    if (versions !== undefined) await reading.require(session, id, { lock: true, versions });
  }

  function restoreAll(
    session: WriteSession,
    operation: 'restore' | 'restoreWith',
    deletionId: string,
  ): Promise<Row[]> {
    const parts = () => ({
      change: `update ${name} set deleted_at = null, deletion_id = null, ${touched}
        where tenant_id = $1 and deletion_id = $2 returning ${returned}`,
      after: whole,
    });
    return change(session, [operation, 'restore'], [tenantOf(session), deletionId], parts);
  }

  /**
   * Whether all rows of a deletion can come back, with every one that cannot. Who takes a place at this very moment meets
   * the constraint.
   *
   * @throws AppError what the constraints say
   */
  async function requireFree(session: WriteSession, id: string, deletionId: string): Promise<void> {
    for (const meaning of Object.values(constraints)) {
      const field = meaning?.pointer?.slice(1) ?? '';
      if (meaning?.pointer === undefined || !ownFields.includes(field)) continue;
      const { code, detail, pointer } = meaning;
      const taken = await ask<{ id: string }>(
        session,
        'restore',
        `select gone.id from ${name} gone join ${name} live on live.tenant_id = $1
           and live.${column(field)} = gone.${column(field)} and live.deleted_at is null
         where gone.tenant_id = $1 and gone.deletion_id = $2 order by gone.id limit ${conflictsTold}`,
        [tenantOf(session), deletionId],
      );
      if (taken.length === 0) continue;
      throw new AppError(code, detail, {
        errors: taken.map((row) => ({
          pointer: row.id === id ? pointer : `/${row.id}${pointer}`,
          code,
          message: detail,
        })),
      });
    }
  }

  return {
    ...reading,
    ...bulkOf({ definition, shape, texts, ask, snapshot }),

    async insert(session, values) {
      return requireRow((await insertChunk(session, [values]))[0]);
    },
    insertMany,

    async update(session, id, changes, versions) {
      await requireVersion(session, id, versions);
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
          from unnest($2::uuid[], $3::${type(field)}[]) as v(id, value) join ${name} t on t.id = v.id
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

    async softDelete(session, id, versions) {
      await requireVersion(session, id, versions);
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
      const selected = partsOf(shape, tenantOf(session), { where });
      const conditions = selected.map((part) => part.text).join(' and ');
      const text = `update ${name} set deleted_at = now(), deletion_id = ?, ${touched}
        where ${conditions} returning ${returned}`;
      const values = [deletionId, ...selected.flatMap((part) => part.values)];
      const parts = () => ({ change: numbered(text), before: whole, result: '"id"' });
      await change(session, ['softDeleteWhere', 'delete'], values, parts, shapeOf({ where }));
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
      if (deletionId === null) return { row: await reading.require(session, id), deletion: undefined };
      await requireFree(session, id, deletionId);
      const restored = await restoreAll(session, 'restore', deletionId);
      return { row: requireRow(restored.find((row) => row.id === id)), deletion: { deletionId } };
    },

    async restoreWith(session, { deletionId }) {
      await restoreAll(session, 'restoreWith', deletionId);
    },
  };
}
