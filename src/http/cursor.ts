import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { RowPosition } from '../db/index.ts';
import { invalid } from './validate.ts';

/**
 * Where a page of a list begins. Signed and bound to tenant, route, sort and filter, so that a cursor can be neither made
 * up nor carried elsewhere.
 */
export interface Cursor extends RowPosition {
  /** `after`: the rows that follow; `before`: those that precede. */
  way: 'after' | 'before';
  /** How far the server had come that showed the page before: see Freshness. */
  seen: string;
}

/** What a cursor is good for. Signed with it but not sent: who asks knows it. */
export interface CursorBinding {
  /** Tenant id, or `control`. */
  owner: string;
  path: string;
  sort: string;
  filter: string;
}

export interface Cursors {
  encode(binding: CursorBinding, cursor: Cursor): string;
  /** @throws AppError invalid_input for one that is not ours, or another list's */
  decode(binding: CursorBinding, text: string): Cursor;
}

/** @param key of at least 256 bits, used for nothing else */
export function createCursors(key: KeyObject): Cursors {
  function sign(payload: string, { owner, path, sort, filter }: CursorBinding): string {
    const bound = JSON.stringify([payload, owner, path, sort, filter]);
    return createHmac('sha256', key).update(bound).digest('base64url');
  }

  return {
    encode(binding, { way, value, id, seen }) {
      const payload = Buffer.from(JSON.stringify([way, value, id, seen])).toString('base64url');
      return `${payload}.${sign(payload, binding)}`;
    },
    decode(binding, text) {
      const [payload = '', signature = '', ...more] = text.split('.');
      const expected = Buffer.from(sign(payload, binding));
      const given = Buffer.from(signature);
      if (given.length !== expected.length || !timingSafeEqual(given, expected) || more.length > 0) {
        const message = 'The cursor is not one of this list. Take page.next of an answer as it is.';
        throw invalid([{ pointer: 'cursor', code: 'invalid_cursor', message }]);
      }
      // Signed by us, so it has the shape we gave it.
      const fields = JSON.parse(Buffer.from(payload, 'base64url').toString()) as [
        Cursor['way'],
        string | number,
        string,
        string,
      ];
      const [way, value, id, seen] = fields;
      return { way, value, id, seen };
    },
  };
}
