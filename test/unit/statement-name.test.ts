import { describe, expect, it } from '@jest/globals';
import { statementName } from '../../src/db/statement-name.ts';

describe('the name of a statement that was given none', () => {
  it.each([
    ['select id, slug from tenant_directory where slug = $1', 'select tenant_directory'],
    ['\n  insert into control.tenants (id) values ($1)', 'insert control.tenants'],
    ['UPDATE products set stock = stock + $2 where id = $1', 'update products'],
    ['with gone as (delete from orders returning id) select count(*) from gone', 'with orders'],
    ['select exists (select from control.operators) as there', 'select control.operators'],
    ['lock table products', 'lock'],
    ['', 'statement'],
  ])('is made of its verb and its table: %s', (text, name) => {
    expect(statementName(text)).toBe(name);
  });

  it.each([
    `select 'a secret from somebody' as x`,
    `select $$a secret from somebody$$`,
    `select $tag$a secret from somebody$tag$`,
    `select e'\\' from somebody'`,
    `select 1 -- a secret from somebody`,
    `select /* a secret from somebody */ 1`,
  ])('has nothing of a literal or a comment: %s', (text) => {
    expect(statementName(text)).toBe('select');
  });
});
