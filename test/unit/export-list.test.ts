import { expect, it } from '@jest/globals';
import express, { type Request } from 'express';
import supertest from 'supertest';
import type { Page, TenantScope } from '../../src/db/index.ts';
import { exportList } from '../../src/http/export-list.ts';
import type { ListRequest } from '../../src/http/list.ts';

interface Row {
  id: string;
}

/** Of a list with pages of one row, which are read by servers that are further on each time. */
it('each read of an export has to see what the one before has seen', async () => {
  const told: string[] = [];
  const pages: Page<Row>[] = ['a', 'b', 'c'].map((id, at) => ({
    rows: [{ id }],
    next: at < 2 ? { value: id, id } : undefined,
  }));
  let reads = 0;
  const list = async (_scope: TenantScope, { after }: ListRequest<Row>) => {
    told.push(`reads after ${after?.id ?? 'nothing'}`);
    reads += 1;
    return pages[reads - 1] ?? { rows: [], next: undefined };
  };
  const freshness = {
    seen: () => `place ${reads}`,
    require: (place: string) => void told.push(`requires ${place}`),
  };
  const app = express();
  app.get('/', (req, res, next) => {
    req.context = { freshness } as unknown as Request['context'];
    const rules = { sortable: ['id'] as const };
    exportList<Row>(req, res, rules, {} as TenantScope, { list, mayShowDeleted: () => undefined }).catch(
      next,
    );
  });
  const { text } = await supertest(app).get('/').expect(200).buffer(true);
  expect(text).toBe('{"id":"a"}\n{"id":"b"}\n{"id":"c"}\n');
  expect(told.slice(0, 5)).toEqual([
    ...['reads after nothing', 'requires place 1', 'reads after a'],
    ...['requires place 2', 'reads after b'],
  ]);
});
