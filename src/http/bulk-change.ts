import type { Request, Response } from 'express';
import { z } from 'zod';
import type { BulkRecords, Selected, Stamped } from '../db/index.ts';
import { answerJson } from './answer.ts';
import { requireScope } from './context.ts';
import { filtersOf, type ListRules, wantedOf } from './list-query.ts';
import { invalid, parseBody, parseQuery } from './validate.ts';

/** `PATCH` and `DELETE /…/bulk`: the same for all rows that filters leave. See docs/api.md. */

type Changing<View extends Stamped> = Pick<BulkRecords<View, never>, 'patchSelected' | 'removeSelected'>;

/** @returns what is done with a request */
export function bulkChanges<View extends Stamped, Patch>(
  rules: ListRules,
  patchSchema: z.ZodType<Patch>,
  { patchSelected, removeSelected }: Changing<View>,
) {
  const schema = z.strictObject({
    ...filtersOf(rules),
    dryRun: z.stringbool({ truthy: ['true'], falsy: ['false'] }).default(false),
  });

  function asked(req: Request): { selected: Selected<View>; dryRun: boolean } {
    if (req.get('if-match') !== undefined) {
      const message = 'Versions are of one resource each.';
      throw invalid([{ pointer: 'If-Match', code: 'not_supported', message }]);
    }
    const { dryRun, ...filters } = parseQuery(schema, req) as Record<string, unknown> & { dryRun: boolean };
    const { where, filter } = wantedOf(filters);
    if (Object.keys(where).length + filter.length === 0) {
      const message = 'At least one filter is needed: without any, all rows would be meant.';
      throw invalid([{ pointer: 'filter', code: 'required', message }]);
    }
    // The schema knows no other fields.
    return { selected: { where, filter } as unknown as Selected<View>, dryRun };
  }

  return {
    async patch(req: Request, res: Response): Promise<void> {
      const { selected, dryRun } = asked(req);
      const changes = parseBody(patchSchema, req) as Parameters<typeof patchSelected>[2];
      const count = await patchSelected(requireScope(req), selected, changes, dryRun);
      answerJson(res, 200, dryRun ? { matched: count } : { updated: count });
    },
    async remove(req: Request, res: Response): Promise<void> {
      const { selected, dryRun } = asked(req);
      const { count, deletionId } = await removeSelected(requireScope(req), selected, dryRun);
      if (deletionId !== null) res.setHeader('Deletion-Id', deletionId);
      answerJson(res, 200, dryRun ? { matched: count } : { deleted: count, deletionId });
    },
  };
}
