import type { Request } from 'express';
import { z } from 'zod';
import { AppError, type FieldError } from '../errors.ts';

/** Input is parsed at the edge into values of a schema, with every fault of it in one answer. */

/** A body of a megabyte can hold a hundred thousand faults; an answer ten times as long as the question helps nobody. */
const maxErrors = 100;
/** Of one object. A schema takes half a second to say of each key of a megabyte that it is not known. */
const maxKeys = 1000;
/** Of one of many values; of a body see body.ts. */
const maxDepth = 32;
/** Of a query. Beyond a thousand the query parser would drop them unseen. */
const maxParameters = 100;

/** An id in a path. Any uuid: one that is nobody's is not found, which is not a fault of form. */
const idSchema = z.guid();

const noParameters = z.strictObject({});

/** @throws AppError unsupported_media_type, invalid_input with JSON pointers */
export function parseBody<Schema extends z.ZodType>(schema: Schema, req: Request): z.output<Schema> {
  const body: unknown = req.body;
  if (body === undefined) {
    throw new AppError('unsupported_media_type', 'A body with Content-Type: application/json is needed.');
  }
  const faults = textFaults(body);
  if (faults.length > 0) throw invalid(faults);
  return parse(schema, body, pointer);
}

/** For requests that take no body: whatever is sent is refused rather than ignored. What is no JSON has been already. */
export function refuseBody(req: Request): void {
  const body: unknown = req.body;
  if (body !== undefined && Object.keys(body as object).length > 0) {
    throw invalid([{ pointer: '', code: 'unrecognized_keys', message: 'This request takes no body.' }]);
  }
}

/** For requests that take no parameters. @throws AppError invalid_input with the parameters' names */
export function refuseQuery(req: Request): void {
  if (req.originalUrl.includes('?')) parseQuery(noParameters, req);
}

/** Unknown and repeated parameters are refused. @throws AppError invalid_input with the parameters' names */
export function parseQuery<Schema extends z.ZodType>(schema: Schema, req: Request): z.output<Schema> {
  requireReadable(req.originalUrl);
  const faults = textFaults(req.query).map((fault) => ({
    ...fault,
    pointer: fault.pointer.slice(1),
  }));
  if (faults.length > 0) throw invalid(faults);
  return parse(schema, { ...req.query }, (path) => path.join('.'));
}

/** The query parser puts U+FFFD in the place of what it cannot decode, so that two different inputs would become one. */
function requireReadable(url: string): void {
  if (url.split('&', maxParameters + 1).length > maxParameters) {
    const message = `At most ${maxParameters} parameters are taken.`;
    throw invalid([{ pointer: '', code: 'too_many', message }]);
  }
  try {
    decodeURIComponent(url);
  } catch {
    const message = 'The query is not well-formed percent-encoded UTF-8.';
    throw invalid([{ pointer: '', code: 'invalid_encoding', message }]);
  }
}

/** The `:id` of a path. @throws AppError invalid_input unless it is a uuid */
export function parseId(req: Request): string {
  return parse(idSchema, req.params['id'], () => 'id').toLowerCase();
}

export function invalid(errors: readonly FieldError[]): AppError {
  return new AppError('invalid_input', 'The request is not valid; see errors.', {
    errors: errors.slice(0, maxErrors).map((error) => ({ ...error, pointer: error.pointer.slice(0, 200) })),
  });
}

function parse<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  nameOf: (path: PropertyKey[]) => string,
): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(faultsOf(result.error, nameOf));
}

/**
 * One of very many values: what it is by the schema, or all that is wrong with it.
 *
 * @param at what stands before its pointers
 * @param plain its text is known to hold no escape of a character: then nothing in it can be what cannot be stored
 */
export function judge<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  at: string,
  plain: boolean,
): { value: z.output<Schema> } | { faults: FieldError[] } {
  if (!plain || !isFlat(value)) {
    const message = `At most ${maxDepth} levels are taken.`;
    const faults = isDeeper(value, maxDepth) ? [fieldError('', 'too_deep', message)] : textFaults(value);
    if (faults.length > 0) {
      return { faults: faults.map((fault) => ({ ...fault, pointer: at + fault.pointer })) };
    }
  }
  const result = schema.safeParse(value);
  if (result.success) return { value: result.data };
  return { faults: faultsOf(result.error, (path) => at + pointer(path)) };
}

/** Nothing is too deep in it, nor too much. */
function isFlat(value: unknown): boolean {
  let keys = 0;
  for (const key in value as object) {
    const item = (value as Record<string, unknown>)[key];
    if ((keys += 1) > maxKeys || (typeof item === 'object' && item !== null)) return false;
  }
  return true;
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
}

function faultsOf(error: z.ZodError, nameOf: (path: PropertyKey[]) => string): FieldError[] {
  return error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) =>
          fieldError(nameOf([...issue.path, key]), issue.code, 'This is not known here.'),
        )
      : [fieldError(nameOf([...issue.path]), issue.code, issue.message)],
  );
}

function fieldError(at: string, code: string, message: string): FieldError {
  return { pointer: at, code, message };
}

/** RFC 6901 */
function pointer(path: PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/**
 * PostgreSQL cannot store NUL, and a lone surrogate would come back as U+FFFD, so that two different inputs become
 * one: neither is let in, whatever field it stands in.
 */
function textFaults(value: unknown): FieldError[] {
  const faults: FieldError[] = [];
  const path: PropertyKey[] = [];
  // A pointer is made for a fault alone: one for each value of a megabyte would take a quarter of a second. As deep as a
  // body may be; see body.ts.
  function look(at: PropertyKey, item: unknown): void {
    path.push(at);
    walk(item);
    path.pop();
  }
  function walk(item: unknown): void {
    if (faults.length >= maxErrors) return;
    if (typeof item === 'string') {
      if (item.includes('\0'))
        faults.push(fieldError(pointer(path), 'invalid_text', 'NUL cannot be stored.'));
      else if (!item.isWellFormed())
        faults.push(fieldError(pointer(path), 'invalid_text', 'The text is not well-formed Unicode.'));
    } else if (Array.isArray(item)) {
      for (let index = 0; index < item.length; index += 1) look(index, item[index]);
    } else if (typeof item === 'object' && item !== null) {
      const keys = Object.keys(item);
      if (keys.length > maxKeys) {
        faults.push(fieldError(pointer(path), 'too_many', `At most ${maxKeys} fields are taken.`));
      } else for (const key of keys) look(key, (item as Record<string, unknown>)[key]);
    }
  }
  walk(value);
  return faults;
}
