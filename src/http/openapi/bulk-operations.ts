import { z } from 'zod';
import type { ErrorCode } from '../../errors.ts';
import { ndjsonType } from '../ndjson.ts';
import type { Resource } from '../resource.ts';
import type { Operations } from './operation.ts';
import { filterParameters } from './parameters.ts';

/** What `createResourceRoutes` mounts for a resource whose service writes in bulk. */

const changing: readonly ErrorCode[] = ['conflict', 'unprocessable', 'tenant_moving'];
const count = z.int().min(0);

export function bulkOperations<View, Create, Patch>(resource: Resource<View, Create, Patch>): Operations {
  const { one, many, tag, examples, problems = {} } = resource.docs;
  const dryRun = {
    in: 'query' as const,
    name: 'dryRun',
    description: 'Changes nothing, and answers how many there are: `matched`.',
    schema: { type: 'boolean' as const, default: false },
  };
  const selected = 'One filter at least; 10,000 rows at most.';
  const created = (status: number, description: string) => ({
    status,
    description,
    schema: createdOf(one),
    headers: ['Idempotency-Replayed' as const],
  });
  return {
    'POST /bulk': {
      ...{ id: `bulkCreate${many}`, tag, summary: `Make many ${many.toLowerCase()}` },
      description: `All of them or none, in one transaction; with \`onError=skip\` those that can be made. As ${ndjsonType}, a row in each line, a stream of any length; it takes no Idempotency-Key, and has no \`ids\` in its answer.`,
      parameters: [
        {
          in: 'query',
          name: 'onError',
          description: 'What becomes of all when one cannot be made.',
          schema: { type: 'string', enum: ['abort', 'skip'], default: 'abort' },
        },
      ],
      headers: ['Idempotency-Key'],
      body: {
        schema: z.array(resource.create).min(1).max(10_000),
        example: [examples.create],
        types: ['application/json', ndjsonType],
      },
      answers: [
        created(201, 'Some have been made, or all.'),
        created(200, 'None could be made, with `onError=skip`.'),
      ],
      problems: [
        ...changing,
        ...(problems.create ?? []),
        ...(['limit_reached', 'request_under_way', 'idempotency_key_reused'] as const),
      ],
    },
    'PATCH /bulk': {
      ...{ id: `bulkPatch${many}`, tag, summary: `Change all ${many.toLowerCase()} that filters leave` },
      description: selected,
      parameters: [...filterParameters(resource.list), dryRun],
      body: {
        schema: resource.patch,
        example: examples.patch,
        types: ['application/json', 'application/merge-patch+json'],
      },
      answers: [
        {
          status: 200,
          description: 'How many.',
          schema: z
            .strictObject({ updated: count.optional(), matched: count.optional() })
            .meta({ id: `${many}Updated` }),
          example: { updated: 12 },
        },
      ],
      problems: [...changing, ...(problems.patch ?? []), 'too_many_matched'],
    },
    'DELETE /bulk': {
      ...{ id: `bulkDelete${many}`, tag, summary: `Delete all ${many.toLowerCase()} that filters leave` },
      description: `${selected} They are one deletion: to restore one of them restores all.`,
      parameters: [...filterParameters(resource.list), dryRun],
      answers: [
        {
          status: 200,
          description: 'How many.',
          schema: z
            .strictObject({
              deleted: count.optional(),
              deletionId: z.guid().nullable().optional(),
              matched: count.optional(),
            })
            .meta({ id: `${many}Deleted` }),
          example: { deleted: 12, deletionId: '0198f2f2-7c3a-7e55-8a57-3f5d3c1d9a10' },
          headers: ['Deletion-Id'],
        },
      ],
      problems: [...changing, 'too_many_matched'],
    },
  };
}

const schemas = new Map<string, z.ZodType>();

/** Once for each resource: a schema with a name is one object. */
function createdOf(one: string): z.ZodType {
  const known = schemas.get(one);
  if (known !== undefined) return known;
  const error = z.strictObject({ pointer: z.string(), code: z.string(), message: z.string() });
  const schema = z
    .strictObject({
      created: count,
      ids: z
        .array(z.guid().nullable())
        .optional()
        .meta({ description: 'In the order of the rows; null for those rejected. Of JSON only.' }),
      rejectedCount: count,
      rejected: z
        .array(
          z.strictObject({
            index: count.optional(),
            line: count.optional(),
            code: z.string(),
            errors: z.array(error),
          }),
        )
        .meta({ description: 'The first 1,000: by `index` from 0 in JSON, by `line` from 1 in a stream.' }),
    })
    .meta({ id: `${one}BulkCreated` });
  schemas.set(one, schema);
  return schema;
}
