import { refused } from './export-format.ts';

/** A line longer than this is refused: memory must not grow with what somebody sends. 64 MiB. */
const maxLineBytes = 64 * 1024 * 1024;
const lineFeed = 10;

/**
 * The lines of a stream of bytes, without their line feeds; as many at a time as each chunk completes.
 *
 * @throws AppError export_refused for a line of more than 64 MiB
 */
export async function* linesOf(source: AsyncIterable<Buffer | string>): AsyncGenerator<Buffer[], void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const given of source) {
    const chunk = typeof given === 'string' ? Buffer.from(given) : given;
    const lines: Buffer[] = [];
    let from = 0;
    for (let to = chunk.indexOf(lineFeed); to >= 0; to = chunk.indexOf(lineFeed, from)) {
      const part = chunk.subarray(from, to);
      lines.push(rest.length === 0 ? part : Buffer.concat([...rest, part]));
      rest = [];
      restBytes = 0;
      from = to + 1;
    }
    if (from < chunk.length) {
      rest.push(chunk.subarray(from));
      restBytes += chunk.length - from;
      if (restBytes > maxLineBytes) throw refused('The export has a line of more than 64 MiB.');
    }
    if (lines.length > 0) yield lines;
  }
  if (rest.length > 0) yield [Buffer.concat(rest)];
}
