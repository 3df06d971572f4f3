import { v7 as uuidv7 } from 'uuid';
import { arrayLiteral } from './array-literal.ts';
import {
  type AuditedBulk,
  auditedBulkText,
  authorValues,
  eventsOf,
  isOperator,
  rowsPerEvent,
} from './audit.ts';
import { batchIds } from './batch-ids.ts';
import { numbered, partsOf, shapeOf } from './selecting.ts';
import { tenantOf, type WriteSession } from './session.ts';
import type { ConstraintTable } from './pg-errors.ts';
import type { Refusal, Selection, Stamped, Table, TableDefinition } from './table-contract.ts';
import type { Ask, TableShape, Texts } from './table-shape.ts';

export interface BulkParts<Row extends Stamped> {
  definition: TableDefinition<Row>;
  shape: TableShape;
  texts: Texts;
  ask: Ask<Row>;
  /** These fields as the audit keeps them: an expression. */
  snapshot: (fields: readonly string[], value: (field: string) => string) => string;
}

type Bulk<Row extends Stamped> = Pick<Table<Row>, 'insertBatch' | 'updateSelected' | 'softDeleteSelected'>;

interface Statement extends Omit<AuditedBulk, 'action' | 'resource'> {
  operation: keyof Bulk<Stamped>;
  verb: 'bulk_create' | 'bulk_update' | 'bulk_delete';
  /** What tells its text from others of the operation; undefined when there are too many to keep. */
  kind: string | undefined;
  values: readonly unknown[];
}

const touched = 'version = t.version + 1, updated_at = now()';

/** The statements of a table that change many rows at once: docs/decisions/0014. */
export function bulkOf<Row extends Stamped>(parts: BulkParts<Row>): Bulk<Row> {
  const { definition, shape, texts, ask, snapshot } = parts;
  const { name, ownFields, column, type } = shape;
  const audited = definition.audit !== 'none';
  const secret = new Set<string>(definition.secret);
  const taken = takenOf(definition.constraints ?? {});

  async function change<Result extends object>(session: WriteSession, made: Statement): Promise<Result> {
    const { operation, verb, kind, values, ...rest } = made;
    const told = audited && isOperator(session);
    const make = () => {
      const { leading = '', change: text, result } = rest;
      if (!audited) return numbered(`with ${leading}changed as (${text}) ${result}`);
      return numbered(auditedBulkText({ action: `${name}.${verb}`, resource: name, ...rest }, told));
    };
    const text = texts.of(kind === undefined ? undefined : `${operation} ${told} ${kind}`, make);
    const given = audited ? [...values, ...authorValues(session.author)] : values;
    const [row] = await ask<Result>(session, operation, text, given);
    if (row === undefined) throw new Error('An aggregate gave no row');
    return row;
  }

  /** Locked in the order of their ids, so that two of these never wait for each other. */
  function selected(session: WriteSession, selection: Selection<Row>) {
    const conditions = partsOf(shape, tenantOf(session), selection);
    const text = conditions.map((part) => part.text).join(' and ');
    return {
      leading: `prior as (select * from ${name} where ${text} order by id limit ? for no key update), `,
      values: conditions.flatMap((part) => part.values),
    };
  }

  // Not a join: of a table that has just been filled the planner expects a row or two, and would go through all of one for
  // each of the other.
  const ofPrior =
    'where t.tenant_id = $1 and t.id = any(array(select id from prior)) and t.deleted_at is null';
  const counted = 'select count(*)::integer as n from changed';

  return {
    async insertBatch(session, values, { skipTaken = false } = {}) {
      const ids = batchIds(values.length);
      const columns = ownFields.map((field) =>
        arrayLiteral(
          type(field),
          values.map((value) => (value as Record<string, unknown>)[field]),
        ),
      );
      const arrays = ['uuid', ...ownFields.map(type)].map((each) => `?::${each}[]`).join(', ');
      const insert = `insert into ${name} (tenant_id, id, ${ownFields.map(column).join(', ')})
        select ?::uuid, given.* from unnest(${arrays}) as given`;
      const given = [tenantOf(session), arrayLiteral('uuid', ids), ...columns];
      const common = { operation: 'insertBatch', verb: 'bulk_create' } as const;
      if (!skipTaken) {
        // What is told is known before: to count and collect it in PostgreSQL would take a tenth of the whole time.
        await change(session, {
          ...common,
          kind: 'all',
          change: insert,
          events: 'select null::jsonb as before, told as after from unnest(?::jsonb[]) as told',
          result: 'select 1',
          values: audited ? [...given, arrayLiteral('jsonb', eventsFor(ids))] : given,
        });
        return { ids, taken };
      }
      const { kept } = await change<{ kept: string[] | null }>(session, {
        ...common,
        kind: 'some',
        change: `${insert} on conflict do nothing returning id`,
        events: eventsOf('changed'),
        result: 'select json_agg(id) as kept from changed',
        values: given,
      });
      const known = new Set(kept);
      return { ids: ids.map((id) => (known.has(id) ? id : null)), taken };
    },

    async updateSelected(session, selection, changes, most) {
      const given = changes as Record<string, unknown>;
      const fields = ownFields.filter((field) => given[field] !== undefined);
      const { leading, values } = selected(session, selection);
      const set = [...fields.map((field) => `${column(field)} = ?::${type(field)}`), touched].join(', ');
      const shown = fields.map((field) => [field, secret.has(field) ? 'changed' : given[field]]);
      const kept = shapeOf(selection);
      const { n } = await change<{ n: number }>(session, {
        operation: 'updateSelected',
        verb: 'bulk_update',
        kind: kept === undefined ? undefined : `${fields.join()} ${kept}`,
        leading,
        change: `update ${name} t set ${set} ${ofPrior} returning t.id`,
        events: eventsOf(
          'prior',
          `jsonb_object_agg(id, ${snapshot(fields, column)})`,
          `jsonb_build_object('changes', ?::jsonb)`,
        ),
        result: counted,
        values: [
          ...values,
          most,
          ...fields.map((field) => (type(field) === 'jsonb' ? JSON.stringify(given[field]) : given[field])),
          ...(audited ? [JSON.stringify(Object.fromEntries(shown))] : []),
        ],
      });
      return n;
    },

    async softDeleteSelected(session, selection, most) {
      const deletionId = uuidv7();
      const { leading, values } = selected(session, selection);
      const { n } = await change<{ n: number }>(session, {
        operation: 'softDeleteSelected',
        verb: 'bulk_delete',
        kind: shapeOf(selection),
        leading,
        change: `update ${name} t set deleted_at = now(), deletion_id = ?::uuid, ${touched} ${ofPrior}
          returning t.id, t.deletion_id`,
        events: eventsOf('changed', undefined, `jsonb_build_object('deletionId', min(deletion_id::text))`),
        result: counted,
        values: [...values, most, deletionId],
      });
      return { count: n, deletion: n === 0 ? undefined : { deletionId } };
    },
  };
}

/** As eventsOf() makes them. */
function eventsFor(ids: readonly string[]): object[] {
  return Array.from({ length: Math.ceil(ids.length / rowsPerEvent) }, (_, event) => {
    const part = ids.slice(event * rowsPerEvent, (event + 1) * rowsPerEvent);
    return { count: part.length, ids: part };
  });
}

/** What it means that a row met another one: what the table says of its unique constraint, where it has one. */
function takenOf(constraints: ConstraintTable): Refusal {
  const [only, ...others] = Object.entries(constraints).filter(([name]) => name.endsWith('_key'));
  const meaning = others.length === 0 ? only?.[1] : undefined;
  const { code, detail, pointer = '' }: Meaning = meaning ?? anyConflict;
  return { code, errors: [{ pointer, code, message: detail }] };
}

type Meaning = NonNullable<ConstraintTable[string]>;
const anyConflict: Meaning = { code: 'conflict', detail: 'Such a resource exists already.' };
