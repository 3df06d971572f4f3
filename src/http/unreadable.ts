import { randomUUID } from 'node:crypto';
import { type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { AppError, type ErrorCode, errorTable } from '../errors.ts';
import { problemBody, problemType } from './problem.ts';
import { protectiveEntries } from './protective-headers.ts';

/** What never becomes a request: bytes that are no HTTP, headers without end, requests that do not arrive in time. */
export interface Unreadable {
  requestId: string;
  status: number;
  code: ErrorCode;
  /** Node's word for it. */
  reason: string | undefined;
}

const byCode: Readonly<Record<string, [ErrorCode, string] | undefined>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'The request did not arrive in time.'],
  HPE_HEADER_OVERFLOW: ['headers_too_large', 'The headers are larger than is taken.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [
    'payload_too_large',
    'The extensions of the chunks are larger than is taken.',
  ],
};

/** For how long who is still sending may read the answer, milliseconds. */
const lingerMs = 1000;

/** Answers with a problem like any other, and closes the connection: nobody knows where the next request would begin. */
export function refuseUnreadable(server: Server, told: (facts: Unreadable) => void): void {
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // What arrives while we linger comes here again.
    if (socket.writableEnded || socket.destroyed) return;
    // Nothing has been asked: a connection kept ready, for whose next request the answer would be taken.
    if (!socket.writable || socket.bytesRead === 0 || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    // Node's own handler asks the same of it, and there is no other way to know.
    const { _httpMessage: pending } = socket as Socket & { _httpMessage?: ServerResponse | null };
    if (pending === undefined || pending === null) refuse(socket, error, told);
    else if (pending.headersSent) pending.once('close', () => socket.destroySoon());
    else if (!pending.req.complete) refuse(socket, error, told);
    // The one before it was well-formed, and must not take this answer for its own.
    else pending.once('close', () => refuse(socket, error, told));
  });
}

function refuse(socket: Socket, error: NodeJS.ErrnoException, told: (facts: Unreadable) => void): void {
  if (!socket.writable) return;
  const [code, detail] = byCode[error.code ?? ''] ?? ['malformed_request', 'This is not well-formed HTTP.'];
  const { status } = errorTable[code];
  const requestId = randomUUID();
  socket.end(answerOf(new AppError(code, detail), requestId));
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(timer));
  told({ requestId, status, code, reason: error.code });
}

function answerOf(error: AppError, requestId: string): string {
  const { status } = errorTable[error.code];
  const body = JSON.stringify(problemBody(error, requestId));
  const headers: (readonly [string, string | number])[] = [
    ['Connection', 'close'],
    ['X-Request-Id', requestId],
    ...protectiveEntries,
    ['Content-Type', `${problemType}; charset=utf-8`],
    ['Content-Length', Buffer.byteLength(body)],
  ];
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines}\r\n${body}`;
}
