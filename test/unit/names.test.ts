import { describe, expect, it } from '@jest/globals';
import { slugSchema } from '../../src/control/tenants/schema.ts';
import { schemaName, schemaOf, tenantId } from '../../src/db/index.ts';

describe('names that reach SQL as text', () => {
  it.each(['acme', 'a1', 'acme_2', 'acme-corp', 'a'.repeat(48)])('%s is a slug', (slug) => {
    expect(slugSchema.safeParse(slug).success).toBe(true);
    expect(schemaOf('schema', slug)).toBe(`tenant_${slug}`);
  });

  it.each([
    ...[
      '',
      'a',
      'Acme',
      '1acme',
      '_acme',
      'acme_',
      'acme__x',
      'ac me',
      'acme"',
      "acme'",
      'acme;drop',
      'аcme',
    ],
    ...['public', 'shared', 'control', 'pg_catalog', 'information_schema', 'admin', 'a'.repeat(49)],
    'a0000000-0000-7000-8000-000000000001',
  ])('"%s" is no slug', (slug) => {
    expect(slugSchema.safeParse(slug).success).toBe(false);
  });

  it.each(['public', 'tenant_', 'tenant_A', 'tenant_a"; drop schema shared; --', 'pg_catalog', 'acme'])(
    '"%s" is no schema of ours',
    (name) => {
      expect(() => schemaName(name)).toThrow('not the name of a schema');
    },
  );

  it('a schema that waits for a tenant has a name that no tenant can have', () => {
    const name = 'warm_0123456789abcdef';
    expect(schemaName(name)).toBe(name);
    expect(schemaOf('schema', name)).not.toBe(name);
    for (const other of ['warm_', 'warm_0123456789ABCDEF', `${name}0`, 'warm_acme', `${name}"; --`]) {
      expect(() => schemaName(other)).toThrow('not the name of a schema');
    }
  });

  it('a tenant id is a uuid, in lower case', () => {
    expect(tenantId('A0000000-0000-7000-8000-00000000000F')).toBe('a0000000-0000-7000-8000-00000000000f');
    expect(() => tenantId("' or true --")).toThrow('A tenant id is a uuid');
  });
});
