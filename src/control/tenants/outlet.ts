import type { Writable } from 'node:stream';
import { AppError } from '../../errors.ts';

/** Gives bytes to a stream that somebody else made and will end, at the pace at which they are taken. */
export interface Outlet {
  /** Aborted when nobody takes the bytes any more. */
  readonly signal: AbortSignal;
  /** Resolves when more may come. */
  give(chunk: Buffer): Promise<void>;
  /** Lets go of the stream. */
  close(): void;
}

/** Who takes nothing for this long is given up: a snapshot is held open for it. */
const stallMs = 60_000;

export function createOutlet(sink: Writable, signal?: AbortSignal): Outlet {
  const ended = new AbortController();
  const end = () => ended.abort(signal?.reason);
  // Without its cause: a broken pipe there must not be taken for a lost server.
  const failed = ({ message }: Error) => ended.abort(notTaken(message));
  const gone = () => ended.abort(notTaken('nobody takes it any more'));
  sink.on('error', failed);
  sink.on('close', gone);
  signal?.addEventListener('abort', end);
  if (signal?.aborted) end();
  else if (sink.destroyed) gone();

  function drained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        sink.off('drain', drain);
        ended.signal.removeEventListener('abort', stop);
        act();
      };
      const drain = () => settle(resolve);
      const stop = () => settle(() => reject(ended.signal.reason as Error));
      const timer = setTimeout(() => {
        settle(() => reject(new AppError('timeout', 'The export was not taken for a minute.')));
      }, stallMs);
      sink.once('drain', drain);
      ended.signal.addEventListener('abort', stop);
    });
  }

  return {
    signal: ended.signal,
    async give(chunk) {
      ended.signal.throwIfAborted();
      if (!sink.write(chunk)) await drained();
    },
    close() {
      sink.off('error', failed);
      sink.off('close', gone);
      signal?.removeEventListener('abort', end);
    },
  };
}

function notTaken(why: string): AppError {
  return new AppError('client_closed_request', `The export could not be written: ${why}.`);
}
