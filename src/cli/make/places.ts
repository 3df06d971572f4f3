import { changeable, type Field, sampleOf, telling } from './fields.ts';
import type { Names } from './names.ts';

/** A line of a file that is there, and what is put before it. */
export interface Place {
  file: string;
  before: string | RegExp;
  text: string;
}

/** Where a resource is named besides its own files. */
export function placesOf({ path, table, one, many, One }: Names, fields: readonly Field[]): Place[] {
  const from = `'./features/${path}`;
  const inTests = `'../../src/features/${path}`;
  const values = fields.map((field) => `${field.name}: ${sampleOf(field, 'mark')}`);
  const first = changeable(fields);
  const change = `{ ${first.name}: ${sampleOf(first, '999')} }`;
  return [
    {
      file: 'src/build.ts',
      before: `import { orderRoutes } from './features/orders/routes.ts';`,
      text: `import { ${one}Routes } from ${from}/routes.ts';\nimport { create${One}Service } from ${from}/service.ts';\n`,
    },
    {
      file: 'src/build.ts',
      before: `    { path: '/v1/audit-events',`,
      text: `    { path: '/v1/${path}', before, router: ${one}Routes(create${One}Service(db, data.rowLimit), conventions) },\n`,
    },
    {
      file: 'src/tenant-api.ts',
      before: `import { order } from './features/orders/schema.ts';`,
      text: `import { ${one} } from ${from}/schema.ts';\n`,
    },
    {
      file: 'src/tenant-api.ts',
      before: /auditEvent,?\s*\];/,
      text: `${one}, `,
    },
    { file: 'src/limiter.ts', before: `'order_lines'`, text: `'${table}', ` },
    {
      file: 'test/isolation/registry.ts',
      before: `import { orderLines, orders } from '../../src/features/orders/repository.ts';`,
      text: `import { ${many} } from ${inTests}/repository.ts';\nimport { ${one} } from ${inTests}/schema.ts';\n`,
    },
    {
      file: 'test/isolation/registry.ts',
      before: `  // Written with every change of the others`,
      text: `  ${table}: row(${many}, {
    values: (mark) => ({ ${values.join(', ')} }),
    marked: '${telling(fields).name}',
    change: ${change},
  }),
`,
    },
    {
      file: 'test/isolation/registry.ts',
      before: `  'audit-events': auditEvent.list,`,
      text: `  '${path}': ${one}.list,\n`,
    },
    {
      file: 'test/isolation/registry.ts',
      before: `  // End of the resources`,
      text: `  '${path}': { body: (mark) => ({ ${values.join(', ')} }), change: ${change} },\n`,
    },
  ];
}

/** @throws Error when the line is not there, or more than once */
export function put(text: string, { file, before, text: added }: Place): string {
  const pattern = typeof before === 'string' ? new RegExp(escaped(before), 'g') : new RegExp(before, 'g');
  const [found, another] = [...text.matchAll(pattern)];
  if (found === undefined || another !== undefined) {
    throw new Error(`${file} is not as it was: "${String(before)}" is needed once. Nothing was written.`);
  }
  const at = found.index;
  return text.slice(0, at) + added + text.slice(at);
}

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
