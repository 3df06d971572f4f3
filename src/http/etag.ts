import { createHash } from 'node:crypto';
import type { Request, Response } from 'express';
import type { Versions } from '../db/index.ts';
import { invalid } from './validate.ts';

/**
 * Entity tags are made of a row's version and of what is shown of it, such as `"3.k2Jx9w"`: strong, for two answers with
 * one tag are the same bytes. A precondition looks at the version alone.
 */
interface Tagged {
  version?: number;
}

const tag = /^"(\d{1,10})\.[\w-]{6}"$/;
const list = /^(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"(?: *, *(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")*$/;

/** @param fields what is shown, in words that change when it does */
export function representation(fields: readonly string[]): string {
  return createHash('sha256').update(fields.join()).digest('base64url').slice(0, 6);
}

/** Of what never changes it is the first version. */
export function setEtag(res: Response, { version = 1 }: Tagged, shown: string): void {
  res.setHeader('ETag', `"${version}.${shown}"`);
}

/** Whether the client has what it would be sent: it is answered with 304. A weak tag will do. */
export function hasIt(req: Request, res: Response): boolean {
  const given = tagsIn(req, 'if-none-match');
  if (given === undefined) return false;
  const own = res.getHeader('ETag');
  return given === '*' || given.some((each) => each.replace(/^W\//, '') === own);
}

/**
 * The versions that the client knows, by `If-Match`; undefined: any will do. A weak tag, or another's, matches none.
 *
 * @throws AppError invalid_input for what is no list of entity tags
 */
export function versionsKnown(req: Request): Versions | undefined {
  const given = tagsIn(req, 'if-match');
  if (given === undefined || given === '*') return undefined;
  return given.flatMap((each) => {
    const [, version] = tag.exec(each) ?? [];
    return version === undefined ? [] : [Number(version)];
  });
}

function tagsIn(req: Request, header: 'if-match' | 'if-none-match'): '*' | string[] | undefined {
  const given = req.get(header)?.trim();
  if (given === undefined || given === '*') return given;
  if (given.length <= 1000 && list.test(given)) return given.split(/ *, *(?=(?:W\/)?")/);
  const name = header === 'if-match' ? 'If-Match' : 'If-None-Match';
  const message = 'Entity tags with commas between them are needed, or *.';
  throw invalid([{ pointer: name, code: 'invalid_format', message }]);
}
