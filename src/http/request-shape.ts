import type { Request } from 'express';
import { AppError } from '../errors.ts';

/** What any request must be like, whatever it asks for. Node's own limits come before these: see server.ts. */

/** Characters of path and query. A page's cursor and every filter of a list fit in a quarter of it. */
const maxUrlLength = 8192;
const maxHeaders = 100;

/**
 * Given twice, these leave open which one was meant, and a proxy before us may have read the other: Node keeps the first
 * of some and joins the rest by commas. Headers that are lists, such as If-Match, may come in parts.
 */
const singletons = [
  'Authorization',
  'Consistency-Token',
  'Content-Type',
  'Host',
  'Idempotency-Key',
  'Read-Consistency',
  'X-Tenant-ID',
] as const;

/** Length of a name → the names: every header of every request is looked up, and most have a length that none of these has. */
const byLength: readonly (readonly string[])[] = singletons.reduce<string[][]>((names, name) => {
  (names[name.length] ??= []).push(name.toLowerCase());
  return names;
}, []);

/** @throws AppError uri_too_long, headers_too_large, invalid_input, malformed_request, expectation_failed */
export function requireShape(req: Request): void {
  const { url, rawHeaders, headers } = req;
  if (url.length > maxUrlLength) {
    throw new AppError('uri_too_long', `Path and query have ${maxUrlLength} characters at most.`);
  }
  if (rawHeaders.length > 2 * maxHeaders) {
    throw new AppError('headers_too_large', `A request has ${maxHeaders} headers at most.`);
  }
  const twice = givenTwice(rawHeaders);
  if (twice !== undefined) {
    const name = singletons.find((each) => each.toLowerCase() === twice);
    throw new AppError('invalid_input', `There is more than one ${name} header.`);
  }
  requireFraming(req);
  if (headers.expect !== undefined && !expectsContinue(req)) {
    throw new AppError('expectation_failed', 'Expect: 100-continue is the only expectation there is.');
  }
}

/**
 * What Node lets pass and RFC 9112 does not (sections 2.3, 3.2 and 6.1). Where a message ends must not be a matter of opinion
 * between us and a proxy.
 */
function requireFraming({ httpVersion, headers }: Request): void {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    throw new AppError('malformed_request', 'HTTP/1.1 is needed.');
  }
  if (headers.host === undefined && httpVersion === '1.1') {
    throw new AppError('malformed_request', 'A Host header is needed.');
  }
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && (httpVersion === '1.0' || coding.toLowerCase() !== 'chunked')) {
    throw new AppError('malformed_request', 'Transfer-Encoding: chunked is the only one, and of HTTP/1.1.');
  }
}

/** The client waits to be told that its body is wanted. */
export function expectsContinue({ headers }: Request): boolean {
  return headers.expect?.toLowerCase() === '100-continue';
}

function givenTwice(rawHeaders: readonly string[]): string | undefined {
  const seen: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const given = rawHeaders[at] ?? '';
    const candidates = byLength[given.length];
    if (candidates === undefined) continue;
    const name = given.toLowerCase();
    if (!candidates.includes(name)) continue;
    if (seen.includes(name)) return name;
    seen.push(name);
  }
  return undefined;
}
