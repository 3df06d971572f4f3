import type { Request, Response } from 'express';
import { z } from 'zod';
import type { BulkRecords, RowFault, TenantScope } from '../db/index.ts';
import { AppError, type FieldError } from '../errors.ts';
import { answerJson } from './answer.ts';
import { bulkType, type Judged, judgedArray, judgedLines } from './bulk-input.ts';
import { requireScope } from './context.ts';
import { withoutDeadline } from './ending.ts';
import type { Idempotency } from './idempotency.ts';
import { invalid, parseQuery } from './validate.ts';

/** `POST /…/bulk`: very many rows in one request. See docs/api.md. */

type Creating<Create> = Pick<BulkRecords<never, Create>, 'createAll' | 'createAllOf' | 'createSome'>;

/** Rejected rows that are told one by one; the others are counted. */
const maxRejected = 1000;

const querySchema = z.strictObject({ onError: z.enum(['abort', 'skip']).default('abort') });

export async function createBulk<Create>(
  req: Request,
  res: Response,
  schema: z.ZodType<Create>,
  service: Creating<Create>,
  idempotency: Idempotency,
): Promise<void> {
  const scope = requireScope(req);
  const { onError } = parseQuery(querySchema, req);
  const type = bulkType(req);
  // It has been let in; from here on its client must be quick enough, and there is much to be done.
  withoutDeadline(req);
  if (type === 'json') {
    const { batch, text } = await judgedArray(req, schema);
    if (onError === 'abort') requireSound('index', batch.faults);
    const create = onError === 'abort' ? service.createAll : service.createSome;
    const { rows, places } = batch;
    const { ids, refused } =
      rows.length === 0
        ? { ids: [], refused: [] }
        : await idempotency.once(req, res, (once) => create(once, { rows, places }), text);
    if (onError === 'abort') requireSound('index', refused.map(inBody));
    answer(res, 'index', {
      created: ids.length - refused.length,
      rejected: [...batch.faults, ...refused.map(inBody)],
      ids: idsByPlace(batch, ids),
    });
    return;
  }
  if (req.get('idempotency-key') !== undefined) throw notRepeatable();
  const lines = judgedLines(req, schema);
  const done = await (onError === 'abort' ? allOf(scope, lines, service) : someOf(scope, lines, service));
  answer(res, 'line', done);
}

interface Done {
  created: number;
  /** Those that are told. */
  rejected: RowFault[];
  rejectedCount?: number;
  ids?: (string | null)[];
}

async function allOf<Create>(
  scope: TenantScope,
  lines: AsyncGenerator<Judged<Create>, void>,
  service: Creating<Create>,
): Promise<Done> {
  const batches = ahead(sound(lines));
  // A connection is taken when there is something to write.
  const first = await batches.next();
  const all = first.done === true ? batches : after(first.value, batches);
  const { created, refused } = await service.createAllOf(scope, all);
  requireSound('line', refused.map(inBody));
  return { created, rejected: [] };
}

async function someOf<Create>(
  scope: TenantScope,
  lines: AsyncGenerator<Judged<Create>, void>,
  service: Creating<Create>,
): Promise<Done> {
  const done = { created: 0, rejected: [] as RowFault[], rejectedCount: 0 };
  for await (const batch of ahead(lines)) {
    const { ids, refused } =
      batch.rows.length === 0 ? { ids: [], refused: [] } : await service.createSome(scope, batch);
    done.created += ids.length - refused.length;
    done.rejectedCount += batch.faults.length + refused.length;
    const room = maxRejected - done.rejected.length;
    if (room > 0) done.rejected.push(...inOrder([...batch.faults, ...refused.map(inBody)]).slice(0, room));
  }
  return done;
}

async function* sound<Create>(batches: AsyncIterable<Judged<Create>>): AsyncGenerator<Judged<Create>, void> {
  for await (const batch of batches) {
    requireSound('line', batch.faults);
    yield batch;
  }
}

/** The next one is being made while the last one is being used. */
async function* ahead<T>(source: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  let next = source.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done === true) return;
      next = source.next();
      next.catch(() => undefined); // whoever asks for it is told
      yield value;
    }
  } finally {
    // Not waited for: what is under way may wait for a client.
    source.return().catch(() => undefined);
  }
}

async function* after<T>(first: T, others: AsyncIterable<T>): AsyncGenerator<T, void> {
  yield first;
  yield* others;
}

type Place = 'index' | 'line';

/** Of all or nothing. @throws AppError with all faults, by the code of the first */
function requireSound(place: Place, faults: readonly RowFault[]): void {
  const [first] = faults;
  if (first === undefined) return;
  const errors: FieldError[] = faults.flatMap((fault) => [...fault.errors]);
  if (first.code === 'invalid_input') throw invalid(errors);
  const where = place === 'index' ? `The row with the index ${first.place}` : `Line ${first.place}`;
  const message = `${where} cannot be written; see errors. Nothing has been written.`;
  throw new AppError(first.code, message, { errors: errors.slice(0, maxErrors) });
}

const maxErrors = 100;

/** A fault of the database points into its row. */
function inBody({ place, code, errors }: RowFault): RowFault {
  return {
    place,
    code,
    errors: errors.map((error) => ({ ...error, pointer: `/${place}${error.pointer}` })),
  };
}

function inOrder(faults: RowFault[]): RowFault[] {
  return faults.toSorted((one, other) => one.place - other.place);
}

/** In the order of the body, with null for what was rejected. */
function idsByPlace({ places, faults }: Judged<unknown>, ids: readonly (string | null)[]): (string | null)[] {
  if (faults.length === 0) return [...ids];
  const all: (string | null)[] = Array.from({ length: places.length + faults.length }, () => null);
  places.forEach((place, at) => {
    all[place] = ids[at] ?? null;
  });
  return all;
}

/** 201 when there is something new, else 200. */
function answer(res: Response, place: Place, { created, rejected, rejectedCount, ids }: Done): void {
  answerJson(res, created > 0 ? 201 : 200, {
    created,
    ...(ids === undefined ? {} : { ids }),
    rejectedCount: rejectedCount ?? rejected.length,
    rejected: inOrder(rejected)
      .slice(0, maxRejected)
      .map(({ place: at, code, errors }) => ({ [place]: at, code, errors })),
  });
}

function notRepeatable(): AppError {
  const message = 'A stream is not kept, so whether another one is the same cannot be told. Send JSON.';
  return invalid([{ pointer: 'Idempotency-Key', code: 'not_supported', message }]);
}
