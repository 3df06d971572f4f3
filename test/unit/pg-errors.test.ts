import { describe, expect, it } from '@jest/globals';
import { isOutgrown, isOutOfStep, remedyFor, translateError } from '../../src/db/pg-errors.ts';
import { AppError, errorTable } from '../../src/errors.ts';

function pgError(code: string, more: object = {}): Error {
  return Object.assign(new Error('relation "secret_table" says no'), { code, ...more });
}

describe('what PostgreSQL says', () => {
  it.each([
    ['23505', 'conflict'],
    ['23503', 'unprocessable'],
    ['23514', 'unprocessable'],
    ['22P02', 'invalid_input'],
    ['22021', 'invalid_input'],
    ['42501', 'forbidden'],
    ['57014', 'timeout'],
    ['55P03', 'unavailable'],
    ['40P01', 'unavailable'],
    ['25006', 'unavailable'],
    ['53300', 'unavailable'],
    ['57P01', 'unavailable'],
    ['08006', 'unavailable'],
    ['42P01', 'internal'],
    ['42703', 'internal'],
    ['ECONNREFUSED', 'unavailable'],
  ])('%s becomes %s, and none of the words of the server', (code, expected) => {
    const error = translateError(pgError(code)) as AppError;
    expect(error.code).toBe(expected);
    expect(error.message).not.toContain('secret_table');
    expect(error.cause).toBeInstanceOf(Error);
  });

  it.each([
    'Connection terminated unexpectedly',
    'Query read timeout',
    'timeout expired',
    'Client has encountered a connection error and is not queryable',
  ])('a driver error without a code is known by its words: %s', (message) => {
    const error = new Error(message);
    expect(remedyFor(error, 'primary')).toBe('node-lost');
    expect(translateError(error)).toMatchObject({ code: 'unavailable', retryAfterS: 1 });
  });

  it.each(['timeout exceeded when trying to connect', 'Too many wait for a connection'])(
    'a busy pool is not taken for a lost server: %s',
    (message) => {
      const error = new Error(message);
      expect(remedyFor(error, 'primary')).toBe('none');
      expect(remedyFor(error, 'replica')).toBe('elsewhere');
      expect(translateError(error)).toMatchObject({ code: 'unavailable', retryAfterS: 1 });
    },
  );

  it('names a known constraint in the words of its repository', () => {
    const error = translateError(pgError('23505', { constraint: 'products_sku_key' }), {
      products_sku_key: { code: 'sku_taken', detail: 'Another product has this SKU.', pointer: '/sku' },
    });
    expect(error).toMatchObject({ code: 'sku_taken', errors: [{ pointer: '/sku' }] });
  });

  it('leaves what is not of PostgreSQL alone', () => {
    const bug = new TypeError('x is undefined');
    expect(translateError(bug)).toBe(bug);
    expect(remedyFor(bug, 'primary')).toBe('none');
  });
});

describe('what is done about it', () => {
  it('reruns on the primary what it rolled back, and goes elsewhere with what a replica cancelled', () => {
    expect(remedyFor(pgError('40001'), 'primary')).toBe('rerun');
    expect(remedyFor(pgError('40001'), 'replica')).toBe('elsewhere');
    expect(remedyFor(translateError(pgError('40P01')), 'primary')).toBe('rerun');
  });

  it('takes a table that a replica does not have yet to the primary, and gives up there', () => {
    expect(remedyFor(pgError('42P01'), 'replica')).toBe('elsewhere');
    expect(remedyFor(pgError('42P01'), 'primary')).toBe('none');
  });

  it('reruns, where it was, what was prepared for tables of other types', () => {
    const routine = 'RevalidateCachedQuery';
    expect(isOutgrown(pgError('0A000', { routine }))).toBe(true);
    expect(isOutgrown(pgError('0A000'))).toBe(false);
    expect(isOutgrown(pgError('42804'))).toBe(true);
    expect(isOutgrown(pgError('42703'))).toBe(false);
    for (const role of ['primary', 'replica'] as const) {
      expect(remedyFor(pgError('0A000', { routine, outgrown: true }), role)).toBe('rerun');
      expect(remedyFor(translateError(pgError('42804', { outgrown: true })), role)).toBe('rerun');
    }
    expect(remedyFor(pgError('42804'), 'primary')).toBe('none');
  });

  it('knows what does not fit the tables, translated or not', () => {
    for (const code of ['3F000', '42P01', '42703', '42883']) {
      expect(isOutOfStep(pgError(code))).toBe(true);
      expect(isOutOfStep(translateError(pgError(code)))).toBe(true);
    }
    for (const other of [pgError('23505'), new AppError('internal', 'x'), new TypeError('x'), undefined]) {
      expect(isOutOfStep(other)).toBe(false);
    }
  });

  it('never repeats what failed for a reason of its own', () => {
    expect(remedyFor(pgError('23505'), 'primary')).toBe('none');
    expect(remedyFor(new AppError('not_found', 'gone'), 'replica')).toBe('none');
  });
});

describe('the table of errors', () => {
  it('gives every code a status of 4xx or 5xx and a title of its own', () => {
    const entries = Object.values(errorTable);
    for (const { status } of entries) expect(status).toBeGreaterThanOrEqual(400);
    expect(new Set(entries.map(({ title }) => title)).size).toBe(entries.length);
  });
});
