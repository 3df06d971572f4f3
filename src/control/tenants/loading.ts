import { rowLoader, rowPrefix, type TableShape, type WriteSession } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { createTally, refused, type TableSum, type Tally, trailerPrefix } from './export-format.ts';

/** What the rows of one table of an export go into. */
export interface Target {
  table: TableShape;
  /** Those of the export. */
  columns: TableShape['columns'];
}

/** Rows are sent in batches of so many, or so many bytes, whichever is reached first. */
const batchRows = 5000;
const batchBytes = 512 * 1024;

export interface LoadProgress {
  table: string;
  /** Of all tables so far. */
  rows: number;
}

/** Puts the lines of an export that follow its manifest into their tables, a batch at a time, and sums them up. */
export interface Loading {
  /** @throws AppError export_refused for a line that cannot stand there or cannot be stored */
  take(lines: readonly Buffer[]): Promise<void>;
  /** @throws AppError export_refused when there was no trailer */
  finish(): Promise<{ sums: TableSum[]; trailer: Buffer }>;
}

/**
 * @param session of the new tenant
 * @param targets in the order in which their rows come
 */
export function createLoading(
  session: WriteSession,
  targets: readonly Target[],
  onProgress?: (progress: LoadProgress) => void,
): Loading {
  const courses = targets.map(({ table, columns }) => ({
    name: table.name,
    prefix: Buffer.from(rowPrefix(table.name)),
    tally: createTally(table.name),
    loader: rowLoader(session, table, columns),
  }));
  type Course = (typeof courses)[number];
  let current = -1;
  let lineNumber = 1;
  let total = 0;
  let trailer: Buffer | undefined;
  let batch: Buffer[] = [];
  let bytes = 0;

  async function flush(course: Course): Promise<void> {
    if (batch.length === 0) return;
    const lines = batch;
    batch = [];
    bytes = 0;
    let taken: number;
    try {
      taken = await course.loader.load(rowsOf(lines, course.prefix.length));
    } catch (error) {
      throw unstorable(error, course.name, lineNumber);
    }
    if (taken !== lines.length) throw refused(`A line before line ${lineNumber} holds several rows.`);
    add(course.tally, lines);
    total += taken;
    onProgress?.({ table: course.name, rows: total });
  }

  async function end(course: Course | undefined): Promise<void> {
    if (course === undefined) return;
    await flush(course);
    try {
      await course.loader.finish();
    } catch (error) {
      throw unstorable(error, course.name, lineNumber);
    }
  }

  return {
    async take(lines) {
      for (const line of lines) {
        lineNumber += 1;
        if (trailer !== undefined) throw refused(`Line ${lineNumber} follows the trailer.`);
        if (begins(line, trailerPrefix)) {
          trailer = line;
          continue;
        }
        let course = courses[current];
        if (course === undefined || !begins(line, course.prefix)) {
          await end(course);
          current = courses.findIndex(({ prefix }, index) => index > current && begins(line, prefix));
          course = courses[current];
        }
        if (course === undefined) throw refused(`Line ${lineNumber} is not a row that can stand there.`);
        batch.push(line);
        bytes += line.length;
        if (batch.length >= batchRows || bytes >= batchBytes) await flush(course);
      }
    },
    async finish() {
      if (trailer === undefined) throw refused(`The export ends at line ${lineNumber}, without a trailer.`);
      await end(courses[current]);
      return { sums: courses.map(({ tally }) => tally.sum()), trailer };
    },
  };
}

const begins = (line: Buffer, prefix: Buffer) => line.subarray(0, prefix.length).equals(prefix);

const lineFeed = Buffer.from('\n');
const comma = Buffer.from(',');

function add(tally: Tally, lines: readonly Buffer[]): void {
  tally.add(Buffer.concat(lines.flatMap((line) => [line, lineFeed])), lines.length);
}

/** The objects within the lines, as one JSON array. */
function rowsOf(lines: readonly Buffer[], prefixBytes: number): Buffer {
  const rows = lines.flatMap((line) => [comma, line.subarray(prefixBytes, -1)]);
  return Buffer.concat([Buffer.from('['), ...rows.slice(1), Buffer.from(']')]);
}

/** What PostgreSQL says against values is the fault of the export; anything else is not. */
function unstorable(error: unknown, table: string, line: number): unknown {
  if (!(error instanceof AppError)) return error;
  if (!['invalid_input', 'unprocessable', 'conflict'].includes(error.code)) return error;
  return refused(`Rows of ${table} at or before line ${line} cannot be stored.`, error);
}
