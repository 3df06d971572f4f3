import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll } from '@jest/globals';
import type { Express } from 'express';

/** An answer as supertest gives it, too. */
export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

export interface RawRequest {
  method?: string;
  path: string;
  /** Name, value, name, value, …: a header may stand there twice. */
  headers?: readonly string[];
  body?: string | Buffer;
}

/** An application on a port, for what supertest cannot do: headers given twice, and many requests at once. */
export interface Wire {
  send(message: RawRequest): Promise<Answer>;
  /** Sends a body as JSON, with a bearer's token. */
  json(token: string, method: string, path: string, body?: object): Promise<Answer & { body: unknown }>;
}

/** To be called at the top of a test file, after useTenantry(). */
export function useWire(app: () => Express): Wire {
  let server: Server | undefined;
  beforeAll(async () => {
    server = createServer(app()).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server?.close();
    server?.closeAllConnections();
  });

  async function send({ method = 'GET', path, headers = [], body }: RawRequest): Promise<Answer> {
    if (server === undefined) throw new Error('The server is started in beforeAll');
    const { port } = server.address() as AddressInfo; // a string only for a pipe
    const given = headers.map((name, index) => (index % 2 === 0 ? name.toLowerCase() : ''));
    const length = given.includes('transfer-encoding')
      ? []
      : ['Content-Length', String(Buffer.byteLength(body ?? ''))];
    return new Promise((resolve, reject) => {
      const outgoing = request({
        host: '127.0.0.1',
        port,
        method,
        path,
        agent: false,
        headers: ['Host', '127.0.0.1', ...headers, ...length],
      });
      outgoing.on('error', reject);
      outgoing.on('response', (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        );
      });
      outgoing.end(body);
    });
  }

  return {
    send,
    async json(token, method, path, body) {
      const headers = ['Authorization', `Bearer ${token}`];
      const answer = await send({
        method,
        path,
        ...(body === undefined
          ? { headers }
          : { headers: [...headers, 'Content-Type', 'application/json'], body: JSON.stringify(body) }),
      });
      return { ...answer, body: answer.text === '' ? undefined : (JSON.parse(answer.text) as unknown) };
    },
  };
}

/** In ascending order, for answers that may have come in any. */
export function statusesOf(answers: readonly Pick<Answer, 'status'>[]): number[] {
  return answers.map((answer) => answer.status).toSorted((a, b) => a - b);
}
