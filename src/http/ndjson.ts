import { isUtf8 } from 'node:buffer';
import type { FieldError } from '../errors.ts';
import type { Intake } from './intake.ts';

/** Newline-delimited JSON (https://github.com/ndjson/ndjson-spec), a line at a time and never more than that. */

/** A line longer than this is a fault, and is not kept. */
export const maxLineBytes = 1_048_576;
export const ndjsonType = 'application/x-ndjson';

const lineFeed = 10;

/** A line without its end, or why it is none. */
export type Line = string | Pick<FieldError, 'code' | 'message'>;

const tooLong: Line = { code: 'too_long', message: 'A line has a mebibyte at most.' };
const notUtf8: Line = { code: 'invalid_encoding', message: 'The line is not well-formed UTF-8.' };
const marked: Line = { code: 'invalid_encoding', message: 'The text begins with a byte order mark.' };

/**
 * The lines of a body, as many at a time as have come; `later` when none has for so long.
 *
 * @param patienceMs asked each time, for who waits for more may be in a hurry
 */
export async function* linesOf(
  intake: Intake,
  patienceMs: () => number | undefined,
): AsyncGenerator<Line[] | 'later', void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let first = true;
  const begin = (lines: Line[]): Line[] => {
    if (first && typeof lines[0] === 'string' && lines[0].startsWith('\ufeff')) lines[0] = marked;
    first = false;
    return lines;
  };
  for (;;) {
    const chunk = await intake.next(patienceMs());
    if (chunk === 'later') {
      yield chunk;
      continue;
    }
    if (chunk === undefined) break;
    const end = chunk.lastIndexOf(lineFeed);
    if (end < 0) {
      restBytes += chunk.length;
      // Of a line that is too long only its length is remembered.
      if (restBytes <= maxLineBytes) rest.push(chunk);
      else rest = [];
      continue;
    }
    const lines: Line[] = [];
    const head = chunk.indexOf(lineFeed);
    if (restBytes + head > maxLineBytes) lines.push(tooLong);
    else if (restBytes > 0) lines.push(decoded(Buffer.concat([...rest, chunk.subarray(0, head)])));
    else lines.push(decoded(chunk.subarray(0, head)));
    if (end > head) lines.push(...decodedLines(chunk.subarray(head + 1, end)));
    rest = end + 1 < chunk.length ? [chunk.subarray(end + 1)] : [];
    restBytes = chunk.length - end - 1;
    intake.progressed();
    yield begin(lines);
  }
  if (restBytes > 0) yield begin([restBytes > maxLineBytes ? tooLong : decoded(Buffer.concat(rest))]);
}

/** All at once where all is well: most of a stream goes this way. */
function decodedLines(bytes: Buffer): Line[] {
  if (isUtf8(bytes)) {
    const lines: Line[] = bytes.toString().split('\n');
    return bytes.length > maxLineBytes ? lines.map(shortened) : lines;
  }
  const lines: Line[] = [];
  let from = 0;
  for (let to = bytes.indexOf(lineFeed); to >= 0; to = bytes.indexOf(lineFeed, from)) {
    lines.push(decoded(bytes.subarray(from, to)));
    from = to + 1;
  }
  lines.push(decoded(bytes.subarray(from)));
  return lines;
}

function decoded(bytes: Buffer): Line {
  if (bytes.length > maxLineBytes) return tooLong;
  return isUtf8(bytes) ? bytes.toString() : notUtf8;
}

/** Chunks are smaller than a line may be, as a rule; one that has been unpacked need not be. */
function shortened(line: Line): Line {
  return typeof line === 'string' && Buffer.byteLength(line) > maxLineBytes ? tooLong : line;
}
