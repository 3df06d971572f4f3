import { Writable } from 'node:stream';
import { type Logger, pino } from 'pino';

/** A logger that keeps its lines in memory. */
export interface LogLines {
  logger: Logger;
  /** Everything written so far. */
  text(): string;
  lines(): Record<string, unknown>[];
}

export function createLogLines(): LogLines {
  const written: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk.toString());
      done();
    },
  });
  const text = () => written.join('');
  return {
    logger: pino({ level: 'trace' }, stream),
    text,
    lines: () =>
      text()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}
