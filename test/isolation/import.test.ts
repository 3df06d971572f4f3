import { beforeAll, describe, expect, it } from '@jest/globals';
import { useDatabase } from '../support/database.ts';
import { useHoldings } from '../support/holdings.ts';
import { expectSameRows, othersRows } from '../support/rows.ts';
import { startTenantry, useTenantry } from '../support/tenantry.ts';
import { exportOf, forged, importOf, type Parts, taken } from '../support/transfer.ts';
import { unchanged } from '../support/untouched.ts';

const database = useDatabase();
const service = useTenantry(database);
const { heldBy } = useHoldings(service);

let text = '';
let other = '';
beforeAll(async () => {
  text = await exportOf(service, 'ash');
  other = await exportOf(service, 'birch');
});

const lines = () => text.trimEnd().split('\n');
const joined = (all: readonly string[]) => `${all.join('\n')}\n`;
const swapped = <T>(all: readonly T[], one: number, another: number): T[] =>
  all.map((item, index) => (index === one ? all[another] : index === another ? all[one] : item) as T);
/** The place of the first of two rows of one table. */
const pair = () => taken(text).rows.findIndex(({ table }, index, rows) => rows[index + 1]?.table === table);

/** With everything put right but the signature, which takes the key. */
function withChange(change: (parts: Parts) => void): string {
  const parts = taken(text);
  change(parts);
  return forged(parts);
}

const firstOf = (parts: Parts, table: string) => {
  const found = parts.rows.find((row) => row.table === table);
  if (found === undefined) throw new Error(`there is no row of ${table}`);
  return found.row;
};

/** What somebody may do to a file, and the words in which it is refused. */
const damages: Record<string, [damaged: () => string, words: RegExp]> = {
  'a changed value': [
    () => text.replace('"price_cents":"100"', '"price_cents":"101"'),
    /rows of products are not/,
  ],
  'a row less': [() => joined(lines().toSpliced(-2, 1)), /rows of .*, and its trailer says/],
  'a row twice': [() => joined(lines().toSpliced(2, 0, lines()[2] ?? '')), /cannot be stored/],
  'two rows of a table in the other order': [
    () => joined(swapped(lines(), pair() + 1, pair() + 2)),
    /are not those that were exported/,
  ],
  'tables in another order': [
    () =>
      joined(
        lines()
          .toSpliced(1, 1)
          .toSpliced(-1, 0, lines()[1] ?? ''),
      ),
    /is not a row that can stand there/,
  ],
  'the manifest of another tenant': [
    () => joined([other.split('\n')[0] ?? '', ...lines().slice(1)]),
    /signature/,
  ],
  'the rows of another tenant': [
    () => joined([lines()[0] ?? '', ...other.trimEnd().split('\n').slice(1, -1), lines().at(-1) ?? '']),
    /are not those that were exported/,
  ],
  'rows and trailer of another tenant': [
    () => joined([lines()[0] ?? '', ...other.trimEnd().split('\n').slice(1)]),
    /signature/,
  ],
  'another name in the manifest': [() => text.replace('"name":"ash"', '"name":"oak"'), /signature/],
  'nothing at all': [() => '', /empty/],
  'the manifest alone': [() => `${lines()[0]}\n`, /without a trailer/],
  'an end in the middle of a line': [() => text.slice(0, text.length / 2), /./],
  'no trailer': [() => joined(lines().slice(0, -1)), /without a trailer/],
  'half a trailer': [() => text.slice(0, -10), /trailer of the export is damaged/],
  'a line behind the trailer': [() => `${text}{}\n`, /follows the trailer/],
  'two exports in a row': [() => text + other, /follows the trailer/],
  'another version of the format': [
    () => text.replace('"version":1', '"version":2'),
    /format version 2; this build/,
  ],
  'a file that is something else': [() => 'PGDMP and so on\n', /not an export/],
  'JSON that is something else': [() => 'null\n', /not an export/],
  'a blank line': [() => text.replace('\n', '\n\n'), /Line 2 is not a row/],
  'carriage returns': [() => text.replaceAll('\n', '\r\n'), /./],
  'bytes that are no UTF-8': [() => text.replace('ash', '\0'), /./],
};

/** What somebody may write who knows the format and lacks the key. The last is what is said where none is asked for. */
const forgeries: Record<string, [forge: () => string, words: RegExp | undefined]> = {
  'a changed password': [
    () => withChange((parts) => (firstOf(parts, 'users')['password_hash'] = 'mine')),
    undefined,
  ],
  'a user more': [
    () =>
      withChange((parts) => {
        const id = '00000000-0000-4000-8000-00000000aaaa';
        const user = { ...firstOf(parts, 'users'), id, email: 'mallory@ash.test' };
        const place = parts.rows.findIndex(({ table }) => table === 'users');
        parts.rows.splice(place, 0, { table: 'users', row: user });
      }),
    undefined,
  ],
  'a row for another tenant': [
    () =>
      withChange((parts) => {
        firstOf(parts, 'products')['tenant_id'] = heldBy('birch').tenant.id;
      }),
    undefined,
  ],
  'the column of the tenant': [
    () => withChange((parts) => parts.manifest.tables[1]?.columns.push('tenant_id')),
    /tenant_id of the export is not there/,
  ],
  'a table of the control plane': [
    () => withChange((parts) => parts.manifest.tables.push({ name: 'tenants', columns: ['id'] })),
    /table tenants of the export is not there/,
  ],
  'SQL for a name': [
    () =>
      withChange((parts) =>
        parts.manifest.tables.push({ name: 'x"; drop table users; --', columns: ['id'] }),
      ),
    /is not there any more/,
  ],
  'a migration that nobody knows': [
    () => withChange((parts) => parts.manifest.migrations.push('9999_later')),
    /does not know the migration 9999_later/,
  ],
  'a column less that is needed': [
    () =>
      withChange((parts) => {
        for (const table of parts.manifest.tables) {
          table.columns = table.columns.filter((column) => column !== 'sku');
        }
      }),
    /has no column products.sku, which is needed/,
  ],
  'a value that does not fit': [
    () => withChange((parts) => (firstOf(parts, 'products')['stock'] = 'many')),
    /Rows of products at or before line \d+ cannot be stored/,
  ],
  'a value that is not allowed': [
    () => withChange((parts) => (firstOf(parts, 'users')['role'] = 'root')),
    /Rows of users .* cannot be stored/,
  ],
  'a reference to nothing': [
    () =>
      withChange(
        (parts) => (firstOf(parts, 'orders')['customer_id'] = '00000000-0000-4000-8000-000000000000'),
      ),
    /Rows of orders .* cannot be stored/,
  ],
  'a reference to a row of another tenant': [
    () => withChange((parts) => (firstOf(parts, 'orders')['customer_id'] = heldBy('birch').users.live)),
    /Rows of orders .* cannot be stored/,
  ],
  'one id twice': [
    () =>
      withChange((parts) => {
        const place = parts.rows.findIndex(({ table }) => table === 'products');
        parts.rows.splice(place, 0, { ...(parts.rows[place] as Parts['rows'][number]) });
      }),
    /Rows of products .* cannot be stored/,
  ],
};

const attempt = (damaged: string, options: object) =>
  importOf(service, damaged, { slug: 'taken_in', ...options });

describe.each(['shared', 'schema'] as const)('an import with the isolation %s', (isolation) => {
  it.each(Object.keys(damages))('refuses %s, and leaves nothing', async (name) => {
    const [damaged, words] = damages[name] as (typeof damages)[string];
    const source = damaged();
    expect(source).not.toBe(text);
    await unchanged(database, async () => {
      await expect(attempt(source, { isolation })).rejects.toMatchObject({
        code: 'export_refused',
        message: expect.stringMatching(words),
      });
    });
    expect(await database.superuser(`select from pg_namespace where nspname = 'tenant_taken_in'`)).toEqual(
      [],
    );
  });

  it.each(Object.keys(forgeries))('refuses %s without the signature, and leaves nothing', async (name) => {
    const [forge] = forgeries[name] as (typeof forgeries)[string];
    const source = forge();
    await unchanged(database, async () => {
      await expect(attempt(source, { isolation })).rejects.toMatchObject({ code: 'export_refused' });
    });
  });
});

describe('where the signature is not asked for', () => {
  const impossible = Object.entries(forgeries).flatMap(([name, [forge, words]]) =>
    words === undefined ? [] : [{ name, forge, words }],
  );

  it.each(impossible)('$name is refused all the same', async ({ forge, words }) => {
    const source = forge();
    await unchanged(database, async () => {
      await expect(attempt(source, { unsigned: true })).rejects.toMatchObject({
        code: 'export_refused',
        message: expect.stringMatching(words),
      });
    });
  });

  it('two rows in one line are refused all the same', async () => {
    const row = { ...firstOf(taken(text), 'products') };
    const both = `${JSON.stringify(row)},${JSON.stringify({ ...row, id: '00000000-0000-4000-8000-00000000bbbb', sku: 'b' })}`;
    const place = lines().findIndex((line) => line.startsWith('{"table":"products"'));
    const source = joined(lines().toSpliced(place, 1, `{"table":"products","row":${both}}`));
    await unchanged(database, async () => {
      await expect(attempt(source, { unsigned: true })).rejects.toMatchObject({
        code: 'export_refused',
        message: expect.stringMatching(/holds several rows/),
      });
    });
  });

  it.each(Object.keys(damages).filter((name) => damages[name]?.[1].source !== 'signature'))(
    '%s is refused all the same',
    async (name) => {
      const [damaged] = damages[name] as (typeof damages)[string];
      await unchanged(database, async () => {
        await expect(attempt(damaged(), { unsigned: true })).rejects.toMatchObject({
          code: 'export_refused',
        });
      });
    },
  );

  it('a row that names another tenant becomes the new tenant’s, and nobody else’s rows change', async () => {
    const before = await othersRows(database, 'nobody');
    const [forge] = forgeries['a row for another tenant'] as (typeof forgeries)[string];
    const { tenant } = await attempt(forge(), { unsigned: true });
    expectSameRows(await othersRows(database, tenant.id), before);
  });

  it('an export of an installation with another secret is taken, and not without saying so', async () => {
    const elsewhere = await startTenantry(database, {
      env: { JWT_SECRET: 'the key of another installation, 32 characters or more' },
    });
    try {
      const options = { slug: 'from_elsewhere', isolation: 'schema' } as const;
      await unchanged(database, async () => {
        await expect(importOf(elsewhere, text, options)).rejects.toMatchObject({ code: 'export_refused' });
      });
      const { tenant } = await importOf(elsewhere, text, { ...options, unsigned: true });
      expect(tenant.slug).toBe('from_elsewhere');
    } finally {
      await elsewhere.tenantry.stop();
    }
  });
});

describe('an import', () => {
  it('into a slug that is taken, or that none may have, is refused and leaves nothing', async () => {
    await unchanged(database, async () => {
      await expect(importOf(service, text)).rejects.toMatchObject({ code: 'slug_taken' });
      await expect(importOf(service, text, { slug: 'admin' })).rejects.toMatchObject({
        code: 'invalid_input',
      });
      await expect(importOf(service, text, { slug: '../x' })).rejects.toMatchObject({
        code: 'invalid_input',
      });
      const nameless = importOf(service, text, { slug: 'nameless', name: ' ' });
      await expect(nameless).rejects.toMatchObject({ code: 'invalid_input' });
    });
  });

  it('of an older schema takes what there is, and defaults for the rest', async () => {
    await database.superuser(`alter table shared.products add column colour text not null default 'grey'`);
    try {
      const { tenant } = await importOf(service, text, { slug: 'older', isolation: 'shared' });
      const rows = await database.superuser(
        'select distinct colour from shared.products where tenant_id = $1',
        [tenant.id],
      );
      expect(rows).toEqual([{ colour: 'grey' }]);
    } finally {
      await database.superuser('alter table shared.products drop column colour');
    }
  });

  it('of an older schema that has lost a column since is refused', async () => {
    await database.superuser('alter table shared.products rename column description to about');
    try {
      await unchanged(database, async () => {
        await expect(importOf(service, text, { slug: 'lost', isolation: 'shared' })).rejects.toMatchObject({
          code: 'export_refused',
          message: 'The column products.description of the export is not there any more.',
        });
      });
    } finally {
      await database.superuser('alter table shared.products rename column about to description');
    }
  });

  it('takes no more of its source than it can pass on', async () => {
    const [first = '', ...others] = lines();
    const line = `${others.find((candidate) => candidate.startsWith('{"table":"products"'))}\n`;
    let given = 0;
    // As much as anybody asks for.
    async function* endless() {
      yield Buffer.from(`${first}\n`);
      for (;;) {
        given += 64;
        yield Buffer.from(line.repeat(64));
      }
    }
    // The first batch cannot be stored: its rows have one id.
    await expect(
      service.tenantry.control?.importer.importTenant({
        source: endless(),
        slug: 'endless',
        isolation: 'shared',
      }),
    ).rejects.toMatchObject({ code: 'export_refused' });
    expect(given).toBeLessThan(10_000);
  });
});
