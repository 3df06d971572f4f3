import { z } from 'zod';
import type { ErrorCode } from '../../errors.ts';
import type { ListRules } from '../list-query.ts';
import { ndjsonType } from '../ndjson.ts';
import type { Resource, Usual } from '../resource.ts';
import { bulkOperations } from './bulk-operations.ts';
import type { Answer, Body, Operation, Operations } from './operation.ts';
import { listParameters, oneParameters } from './parameters.ts';

/** What `createResourceRoutes` mounts, described from the same resource. */

/** A merge patch (RFC 7396) of a resource without nested fields is what JSON says there anyway. */
const patchTypes = ['application/json', 'application/merge-patch+json'];
const everything: readonly Usual[] = ['list', 'create', 'get', 'patch', 'remove', 'restore'];
const changing: readonly ErrorCode[] = ['conflict', 'unprocessable', 'tenant_moving'];
const once: readonly ErrorCode[] = ['request_under_way', 'idempotency_key_reused'];

export function resourceOperations<View, Create, Patch>(resource: Resource<View, Create, Patch>): Operations {
  const { docs, created } = resource;
  const { one, many, tag, noun, usual = everything, problems = {}, notes = {} } = docs;
  const view = shownOf(resource);
  const examples = { ...docs.examples, view: exampleOf(resource) };
  const named = (
    kind: Usual,
    id: string,
    summary: string,
    operation: Omit<Operation, 'id' | 'tag' | 'summary'>,
  ) => ({
    ...{ id, tag, summary },
    ...(notes[kind] === undefined ? {} : { description: notes[kind] }),
    ...operation,
    problems: [...(operation.problems ?? []), ...(problems[kind] ?? [])],
  });
  const answered = (words: string): Answer => ({
    status: 200,
    description: words,
    schema: view,
    example: examples.view,
    headers: ['ETag'],
  });
  const body = (schema: z.ZodType, example: unknown, types?: readonly string[]): Body => ({
    schema,
    example,
    ...(types === undefined ? {} : { types }),
  });

  const operations: Record<Usual, [keyof Operations, () => Operation]> = {
    list: [
      'GET /',
      () =>
        named('list', `list${many}`, `List ${tag}`, {
          parameters: listParameters(resource.list),
          answers: [
            {
              status: 200,
              description: 'A page; or all of the rows, one in each line, with `format=ndjson`.',
              alsoType: ndjsonType,
              schema: pageOf(view, one),
              example: { data: [examples.view], page: { next: null, prev: null, limit: 20 } },
              headers: ['Link'],
            },
          ],
        }),
    ],
    create: [
      'POST /',
      () =>
        named('create', `create${one}`, `Make ${noun}`, {
          headers: ['Idempotency-Key'],
          body: body(resource.create.meta({ id: `${one}Create` }), examples.create),
          answers: [
            {
              status: 201,
              description: 'It has been made.',
              schema: created?.meta({ id: `${one}Created` }) ?? view,
              example: { ...examples.view, ...examples.created },
              headers: ['ETag', 'Location', 'Idempotency-Replayed'],
            },
          ],
          problems: [...changing, ...once, 'limit_reached'],
        }),
    ],
    get: [
      'GET /:id',
      () =>
        named('get', `get${one}`, `Show ${noun}`, {
          parameters: oneParameters(resource.list),
          headers: ['If-None-Match'],
          answers: [answered('It.'), { status: 304, description: 'The client has it.', headers: ['ETag'] }],
          problems: ['not_found'],
        }),
    ],
    patch: [
      'PATCH /:id',
      () =>
        named('patch', `patch${one}`, `Change ${noun}`, {
          headers: ['If-Match'],
          body: body(
            resource.patch.meta({ id: `${one}Patch`, minProperties: 1 }),
            examples.patch,
            patchTypes,
          ),
          answers: [answered('It, changed.')],
          problems: [...changing, 'not_found', 'precondition_failed'],
        }),
    ],
    remove: [
      'DELETE /:id',
      () =>
        named('remove', `delete${one}`, `Delete ${noun}`, {
          headers: ['If-Match'],
          answers: [{ status: 204, description: 'It has been deleted.', headers: ['Deletion-Id'] }],
          problems: [...changing, 'not_found', 'precondition_failed'],
        }),
    ],
    restore: [
      'POST /:id/restore',
      () =>
        named('restore', `restore${one}`, `Restore ${noun}`, {
          headers: ['Idempotency-Key'],
          answers: [
            {
              ...answered('It, as it was.'),
              headers: ['ETag', 'Idempotency-Replayed'],
            },
          ],
          problems: [...changing, ...once, 'not_found', 'limit_reached'],
        }),
    ],
  };
  const described = usual.map((kind) => {
    const [route, describe] = operations[kind];
    return [route, describe()];
  });
  return {
    ...Object.fromEntries(described),
    ...(docs.bulk === true ? bulkOperations(resource) : {}),
  } as Operations;
}

/** One that was made as its example says, or as an example of the view does. */
export function exampleOf<View, Create, Patch>({
  view,
  defaults,
  docs: { examples },
}: Resource<View, Create, Patch>): Record<string, unknown> {
  const stamped = {
    ...{ id: '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10', ...defaults, ...examples.create, version: 1 },
    ...{ createdAt: '2026-01-31T12:00:00.000Z', updatedAt: '2026-01-31T12:00:00.000Z', ...examples.view },
  };
  return Object.fromEntries(Object.entries(stamped).filter(([field]) => field in view.shape));
}

/** Once for each resource: a schema with a name is one object. */
const shown = new WeakMap<z.ZodObject, z.ZodObject>();

/** A resource as answers have it: with more, where it has been deleted and that was asked for. */
export function shownOf({ view, list }: { view: z.ZodObject; list: ListRules }): z.ZodType {
  if (!list.deletable) return view;
  const known = shown.get(view);
  if (known !== undefined) return known;
  const deletion = {
    deletedAt: z.iso
      .datetime()
      .nullable()
      .optional()
      .meta({ description: 'When it was deleted, or null; only with `deleted`.' }),
    deletionId: z
      .guid()
      .nullable()
      .optional()
      .meta({ description: 'With which others, or null; only with `deleted`.' }),
  };
  const schema = z.strictObject({ ...view.shape, ...deletion }).meta({ id: view.meta()?.id });
  shown.set(view, schema);
  return schema;
}

/** The envelope of lists. */
function pageOf(view: z.ZodType, one: string) {
  return z
    .strictObject({
      data: z.array(view).meta({ description: 'With `fields`, of each row only these.' }),
      page: z.strictObject({
        next: z.string().nullable().meta({ description: 'The `cursor` of the page after this one.' }),
        prev: z.string().nullable().optional().meta({ description: 'The `cursor` of the page before it.' }),
        limit: z.int().min(1),
        total: z.int().min(0).optional().meta({ description: 'With `count=exact`.' }),
        estimate: z.int().min(0).optional().meta({ description: 'With `count=estimated`.' }),
      }),
    })
    .meta({ id: `${one}Page` });
}
