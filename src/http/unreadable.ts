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
  const seen = new WeakSet<Socket>();
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // Whatever arrives after the first fault comes here again, piece by piece.
    if (seen.has(socket)) return;
    seen.add(socket);
    // Nothing has been asked: a connection kept ready, for whose next request the answer would be taken.
    if (!socket.writable || socket.bytesRead === 0 || error.code === 'ECONNRESET') {
      socket.destroy();
      return;
    }
    inTurn(socket, () => refuse(socket, error, told));
  });
}

/** Requests before it were well-formed, and none of them must take this answer for its own. */
function inTurn(socket: Socket, answer: () => void): void {
  // Node's own handler asks the same of it, and there is no other way to know.
  const { _httpMessage: pending } = socket as Socket & { _httpMessage?: ServerResponse | null };
  if (pending === undefined || pending === null) answer();
  else if (pending.req.complete) pending.once('close', () => inTurn(socket, answer));
  // The fault is in its own body.
  else if (!pending.headersSent) answer();
  else pending.once('close', () => socket.destroySoon());
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
