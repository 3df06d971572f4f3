import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll } from '@jest/globals';
import type { Express } from 'express';
import { createHttpServer, type HttpServer, type HttpServerOptions } from '../../src/http/server.ts';
import type { Answer } from './wire.ts';

/** An application behind its own server, and bytes to it that no client library would send. */
export interface RawServer {
  /** Sends the bytes as they are, in one piece, and takes what comes back until the server closes the connection. */
  talk(bytes: string | Buffer): Promise<Answer[]>;
  /** For more than one piece. To be destroyed by who asks. */
  open(): Promise<Socket>;
}

/** To be called at the top of a test file, after useTenantry(). */
export function useRawServer(app: () => Express, options: HttpServerOptions = {}): RawServer {
  let server: HttpServer | undefined;
  let port = 0;
  beforeAll(async () => {
    server = createHttpServer(app(), options);
    port = await server.listen(0);
  });
  afterAll(async () => {
    await server?.close(0);
  });

  async function open(): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    // A reset ends the connection like any other end.
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    return socket;
  }

  return {
    open,
    async talk(bytes) {
      const socket = await open();
      const everything = untilClosed(socket);
      socket.write(bytes);
      return answersIn(await everything);
    },
  };
}

/** All that comes. Never ends while the server keeps the connection. */
export async function untilClosed(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  await once(socket, 'close');
  return Buffer.concat(chunks);
}

/** Each has a Content-Length, or nothing after its headers. */
export function answersIn(bytes: Buffer): Answer[] {
  const answers: Answer[] = [];
  let rest = bytes.toString('latin1');
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n');
    const [start = '', ...lines] = rest.slice(0, end).split('\r\n');
    const headers = Object.fromEntries(
      lines.map((line) => [
        line.slice(0, line.indexOf(':')).toLowerCase(),
        line.slice(line.indexOf(':') + 1).trim(),
      ]),
    );
    const length = Number(headers['content-length'] ?? 0);
    const text = Buffer.from(rest.slice(end + 4, end + 4 + length), 'latin1').toString();
    answers.push({ status: Number(start.split(' ')[1]), headers, text });
    rest = rest.slice(end + 4 + length);
  }
  return answers;
}
