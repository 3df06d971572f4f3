import { setImmediate as othersTurn } from 'node:timers/promises';
import type { Request } from 'express';
import type { z } from 'zod';
import type { Batch, RowFault } from '../db/index.ts';
import { AppError, type FieldError } from '../errors.ts';
import { requireUtf8, tooLarge } from './body.ts';
import { createIntake, type Intake } from './intake.ts';
import { type Line, linesOf, ndjsonType } from './ndjson.ts';
import { invalid, judge } from './validate.ts';

/** The rows of a bulk request, judged one by one by the schema that a single one is judged by. */
export interface Judged<Row> extends Batch<Row> {
  /** What is no row. Pointers are of the whole body: `/17/sku`. */
  faults: RowFault[];
}

export const bulkLimits = {
  /** In one request of JSON, and in one batch of a stream. */
  rows: 10_000,
  /** Of JSON, unpacked. */
  jsonBytes: 16 * 1_048_576,
  /** Of text in one batch. */
  batchBytes: 4 * 1_048_576,
  /** Rows that have come are written after this, though there are few: a transaction must not lie idle. Milliseconds. */
  batchMs: 1000,
};

/** Rows are judged for so long before others have their turn, milliseconds: what is wrong with many of them takes seconds. */
const turnMs = 20;
/** Of one row in an answer. */
const maxErrorsEach = 10;

/** @throws AppError unsupported_media_type */
export function bulkType(req: Request): 'json' | 'ndjson' {
  const [type, ...parameters] = (req.headers['content-type'] ?? '').toLowerCase().split(';');
  const charset = parameters.map((each) => each.trim()).find((each) => each.startsWith('charset='));
  if (charset !== undefined && !/^charset="?utf-8"?$/.test(charset)) {
    throw new AppError('unsupported_media_type', 'The body must be UTF-8.');
  }
  if (type?.trim() === 'application/json') return 'json';
  if (type?.trim() === ndjsonType) return 'ndjson';
  throw new AppError('unsupported_media_type', `A body must be application/json or ${ndjsonType}.`);
}

/** A JSON array, as it was sent. @throws AppError payload_too_large, malformed_json, invalid_input */
export async function judgedArray<Schema extends z.ZodType>(
  req: Request,
  schema: Schema,
): Promise<{ batch: Judged<z.output<Schema>>; text: string }> {
  const text = await wholeText(req);
  const rows = parsed(text);
  if (!Array.isArray(rows)) throw wrong('invalid_type', 'An array of rows is needed.');
  if (rows.length === 0) throw wrong('too_small', 'At least one row is needed.');
  if (rows.length > bulkLimits.rows) {
    throw wrong('too_big', `At most ${bulkLimits.rows} rows are taken; ${ndjsonType} may have more.`);
  }
  const made = openBatch(schema);
  const plain = isPlain(text);
  let since = performance.now();
  for (let index = 0; index < rows.length; index += 1) {
    made.take(index, rows[index], plain);
    if (performance.now() - since < turnMs) continue;
    await othersTurn();
    since = performance.now();
  }
  return { batch: made.batch, text };
}

/**
 * The lines of a stream, in batches. Not one of them is asked for before it is wanted.
 *
 * @throws AppError invalid_input at the end when there were none; what reading them throws
 */
export async function* judgedLines<Schema extends z.ZodType>(
  req: Request,
  schema: Schema,
): AsyncGenerator<Judged<z.output<Schema>>, void> {
  let open = openBatch(schema);
  let line = 0;
  let taken = 0;
  for await (const lines of linesOf(createIntake(req), () => open.patienceMs())) {
    if (lines === 'later' && open.size() > 0) {
      yield open.batch;
      open = openBatch(schema);
    }
    for (const text of lines === 'later' ? [] : lines) {
      line += 1;
      if (isBlank(text)) continue;
      taken += 1;
      open.takeLine(line, text);
      if (!open.isFull()) continue;
      yield open.batch;
      open = openBatch(schema);
    }
  }
  if (open.size() > 0) yield open.batch;
  if (taken === 0) throw wrong('too_small', 'At least one row is needed.');
}

function openBatch<Schema extends z.ZodType>(schema: Schema) {
  const rows: z.output<Schema>[] = [];
  const places: number[] = [];
  const faults: RowFault[] = [];
  let bytes = 0;
  let startedMs: number | undefined;

  function refuse(place: number, code: RowFault['code'], errors: readonly FieldError[]): void {
    faults.push({ place, code, errors: errors.slice(0, maxErrorsEach) });
  }

  function take(place: number, value: unknown, plain: boolean): void {
    const judged = judge(schema, value, `/${place}`, plain);
    if ('faults' in judged) {
      refuse(place, 'invalid_input', judged.faults);
      return;
    }
    rows.push(judged.value);
    places.push(place);
  }

  const size = () => rows.length + faults.length;
  return {
    batch: { rows, places, faults },
    take,
    takeLine(line: number, text: Line): void {
      startedMs ??= performance.now();
      if (typeof text !== 'string') {
        refuse(line, 'malformed_json', [{ pointer: `/${line}`, ...text }]);
        return;
      }
      bytes += text.length;
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch {
        const message = 'The line could not be read as JSON.';
        refuse(line, 'malformed_json', [{ pointer: `/${line}`, code: 'malformed_json', message }]);
        return;
      }
      take(line, value, isPlain(text));
    },
    size,
    isFull: () => size() >= bulkLimits.rows || bytes >= bulkLimits.batchBytes,
    patienceMs: () =>
      startedMs === undefined ? undefined : Math.max(0, startedMs + bulkLimits.batchMs - performance.now()),
  };
}

/** What PostgreSQL cannot store comes into well-formed JSON as an escape: `\\u0000`, or half of a pair. */
function isPlain(text: string): boolean {
  return !text.includes(String.raw`\u`);
}

/** A line between others, or that of an editor at the end. */
function isBlank(line: Line): boolean {
  return line === '' || line === '\r' || (typeof line === 'string' && line.trim() === '');
}

async function wholeText(req: Request): Promise<string> {
  if (Number(req.headers['content-length']) > bulkLimits.jsonBytes) throw tooLarge();
  const intake = createIntake(req);
  const bytes = await allOf(intake);
  requireUtf8(bytes);
  return bytes.toString();
}

async function allOf(intake: Intake): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (;;) {
    const chunk = await intake.next();
    if (chunk === undefined) return Buffer.concat(chunks);
    if (chunk === 'later') continue;
    bytes += chunk.length;
    if (bytes > bulkLimits.jsonBytes) throw tooLarge();
    chunks.push(chunk);
    intake.progressed();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError('malformed_json', 'The body could not be read as JSON.', { cause });
  }
}

function wrong(code: string, message: string): AppError {
  return invalid([{ pointer: '', code, message }]);
}
