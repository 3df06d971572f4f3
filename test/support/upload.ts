import { once } from 'node:events';
import { type ClientRequest, request } from 'node:http';
import { afterAll, beforeAll } from '@jest/globals';
import type { Express } from 'express';
import { createHttpServer, type HttpServer } from '../../src/http/server.ts';
import type { Answer } from './wire.ts';

/** A body that is sent piece by piece, by a test that decides when. */
export interface Upload {
  /** Resolves when the other side has taken enough of it to want more. */
  send(piece: string | Buffer): Promise<void>;
  end(piece?: string | Buffer): Promise<Answer & { body: unknown }>;
  /** Goes away without an end. */
  breakOff(): void;
  /** Also before the end, where it is refused. */
  answer: Promise<Answer & { body: unknown }>;
}

export interface Uploads {
  port(): number;
  start(token: string, path: string, headers?: Record<string, string>): Upload;
}

/** To be called at the top of a test file, after useTenantry(): the application behind the server that it has in production. */
export function useUploads(app: () => Express): Uploads {
  let server: HttpServer | undefined;
  let at = 0;
  beforeAll(async () => {
    server = createHttpServer(app());
    at = await server.listen(0);
  });
  afterAll(() => server?.close(0));

  return {
    port: () => at,
    start(token, path, headers = {}) {
      const outgoing = request({
        ...{ host: '127.0.0.1', port: at, method: 'POST', path, agent: false },
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/x-ndjson', ...headers },
      });
      const answer = answerOf(outgoing);
      answer.catch(() => undefined); // whoever wants it is told
      return {
        async send(piece) {
          if (!outgoing.write(piece)) await Promise.race([once(outgoing, 'drain'), answer]);
        },
        end(piece) {
          outgoing.end(piece);
          return answer;
        },
        breakOff: () => void outgoing.destroy(),
        answer,
      };
    },
  };
}

function answerOf(outgoing: ClientRequest): Upload['answer'] {
  return new Promise((resolve, reject) => {
    outgoing.on('error', reject);
    outgoing.on('response', (incoming) => {
      let text = '';
      incoming.setEncoding('utf8').on('data', (part: string) => (text += part));
      incoming.on('error', reject);
      incoming.on('end', () =>
        resolve({
          ...{ status: incoming.statusCode ?? 0, headers: incoming.headers, text },
          body: JSON.parse(text) as unknown,
        }),
      );
    });
  });
}
