import { changeable, columnOf, type Field, sampleOf, snake, zodOf } from './fields.ts';
import type { Names } from './names.ts';

/** The files of a resource, by path. Formatted as the formatter would. */
export function filesOf(names: Names, fields: readonly Field[], migration: string): Record<string, string> {
  const folder = `src/features/${names.path}`;
  return {
    [`${folder}/schema.ts`]: schemaText(names, fields),
    [`${folder}/repository.ts`]: repositoryText(names, fields),
    [`${folder}/service.ts`]: serviceText(names),
    [`${folder}/routes.ts`]: routesText(names),
    [`migrations/tenant/${migration}_${names.table}.ts`]: migrationText(names, fields),
    [`test/api/${names.path}.test.ts`]: testText(names, fields),
  };
}

const lines = (parts: readonly string[], indent: number) =>
  parts.map((part) => `${' '.repeat(indent)}${part}\n`).join('');
const quoted = (parts: readonly string[]) => parts.map((part) => `'${part}'`).join(', ');
const sortable = (fields: readonly Field[]) => fields.filter(({ nullable }) => !nullable);
const example = (fields: readonly Field[], mark: string) =>
  fields.map((field) => `${field.name}: ${sampleOf(field, mark)}`);

function schemaText({ path, one, One, Many, words }: Names, fields: readonly Field[]): string {
  const optional = fields.filter(({ nullable }) => nullable);
  const article = /^[aeiou]/.test(words) ? 'an' : 'a';
  const first = changeable(fields);
  return `import { z } from 'zod';
import { defineResource } from '../../http/resource.ts';

export const ${one} = defineResource({
  name: '${path}',
  fields: {
${lines(
  fields.map((field) => `${field.name}: ${zodOf(field)},`),
  4,
)}  },
${
  optional.length === 0
    ? ''
    : `  defaults: { ${optional.map(({ name }) => `${name}: null`).join(', ')} },
`
}  sortable: [${quoted(['createdAt', ...sortable(fields).map(({ name }) => name)])}],
  filterable: [${quoted([...fields.map(({ name }) => name), 'createdAt', 'updatedAt'])}],
  docs: {
    ...{ one: '${One}', many: '${Many}', tag: '${Many}', noun: '${article} ${words}' },
    about: 'The ${words}s of a tenant.',
    examples: {
      create: { ${example(fields, '1').join(', ')} },
      patch: { ${first.name}: ${sampleOf(first, '999')} },
    },
  },
});

export type ${One}View = z.output<typeof ${one}.view>;
`;
}

function repositoryText({ table, one, many, One, words }: Names, fields: readonly Field[]): string {
  const unique = fields.filter((field) => field.unique);
  const constraints = unique.map(
    ({ name }) => `    ${table}_${snake(name)}_key: {
      code: 'conflict',
      detail: 'Another ${words} has this ${name}.',
      pointer: '/${name}',
    },
`,
  );
  return `import { defineTable } from '../../db/index.ts';
import { ${one}, type ${One}View } from './schema.ts';

export const ${many} = defineTable<${One}View>({
  name: '${table}',
  columns: ${one}.columns,
${unique.length === 0 ? '' : `  constraints: {\n${constraints.join('')}  },\n`}});
`;
}

function serviceText({ many, One }: Names): string {
  return `import { createRecords, type Database, type Records, type RowLimit } from '../../db/index.ts';
import { ${many} } from './repository.ts';
import type { ${One}View } from './schema.ts';

export type ${One}Service = Records<${One}View>;

export function create${One}Service(db: Database, rowLimit: RowLimit): ${One}Service {
  return createRecords(db, ${many}, rowLimit);
}
`;
}

function routesText({ one, One }: Names): string {
  return `import type { Router } from 'express';
import { type Conventions, createResourceRoutes } from '../../http/resource-routes.ts';
import { ${one} } from './schema.ts';
import type { ${One}Service } from './service.ts';

export function ${one}Routes(service: ${One}Service, conventions: Conventions): Router {
  return createResourceRoutes({ resource: ${one}, service, conventions });
}
`;
}

function migrationText({ table }: Names, fields: readonly Field[]): string {
  const unique = fields.filter((field) => field.unique).map(({ name }) => `['${snake(name)}']`);
  const indexes = sortable(fields)
    .filter((field) => !field.unique)
    .map(({ name }) => `${snake(name)}: ['${snake(name)}', 'id']`);
  return `import type { Knex } from 'knex';
import { tenantTable } from '../tenant-table.ts';

export async function up(knex: Knex): Promise<void> {
  await tenantTable(knex, {
    name: '${table}',
    columns: (table) => {
${lines(fields.map(columnOf), 6)}    },
${unique.length === 0 ? '' : `    unique: [${unique.join(', ')}],\n`}${
  indexes.length === 0 ? '' : `    indexes: { ${indexes.join(', ')} },\n`
}  });
}

export async function down(knex: Knex): Promise<void> {
  await knex.schema.dropTable('${table}');
}
`;
}

function testText({ path, words }: Names, fields: readonly Field[]): string {
  const first = changeable(fields);
  const change = `${first.name}: ${sampleOf(first, '999')}`;
  return `import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { expectProblem } from '../support/problem.ts';
import { type TestTenant, useTenantry } from '../support/tenantry.ts';

const database = useDatabase();
const service = useTenantry(database);

describe.each(['shared', 'schema'] as const)('${path} of a tenant with isolation %s', (isolation) => {
  let tenant: TestTenant;
  beforeAll(async () => {
    tenant = await service.onboard(\`${path}-\${isolation}\`, isolation);
  });
  const body = (mark: number) => ({ ${example(fields, 'mark').join(', ')} });

  it('are created, read, listed, changed, deleted and restored', async () => {
    const created = await tenant.client.post('/v1/${path}').send(body(1)).expect(201);
    const at = String(created.headers['location']);
    expect(created.body).toMatchObject({ version: 1 });
    await tenant.client.get(at).expect(200, created.body as object);
    const { body: list } = await tenant.client.get('/v1/${path}?count=exact').expect(200);
    expect(list).toMatchObject({ data: [created.body], page: { total: 1 } });
    const changed = await tenant.client.patch(at).send({ ${change} }).expect(200);
    expect(changed.body).toMatchObject({ ${change}, version: 2 });
    await tenant.client.delete(at).expect(204);
    expectProblem(await tenant.client.get(at), 404, 'not_found');
    await tenant.client.post(\`\${at}/restore\`).expect(200);
    await tenant.client.get(at).expect(200);
  });

  it('are refused with a field that no ${words} has', async () => {
    const answer = await tenant.client.post('/v1/${path}').send({ ...body(2), nonsense: 1 });
    expectProblem(answer, 400, 'invalid_input', ['/nonsense']);
  });
});
`;
}
