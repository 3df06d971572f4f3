import type { Express } from 'express';
import { createHttpServer } from '../../src/http/server.ts';

/** What came back. `servedBy` is the header as it stands. */
export interface Answer<Body = Record<string, unknown>> {
  status: number;
  body: Body;
  servedBy: string;
  headers: Headers;
}

/** A client with a token, over a real port and connections that are kept open. */
export interface Client {
  get<Body = Record<string, unknown>>(path: string): Promise<Answer<Body>>;
  post<Body = Record<string, unknown>>(path: string, body?: unknown): Promise<Answer<Body>>;
  patch<Body = Record<string, unknown>>(path: string, body: unknown): Promise<Answer<Body>>;
  delete(path: string): Promise<Answer>;
}

/** @param baseUrl such as `http://127.0.0.1:3000` */
export function createClient(baseUrl: string, headers: Record<string, string> = {}): Client {
  async function send<Body>(method: string, path: string, body?: unknown): Promise<Answer<Body>> {
    const answer = await fetch(baseUrl + path, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return {
      status: answer.status,
      body: (text === '' ? {} : JSON.parse(text)) as Body,
      servedBy: answer.headers.get('served-by') ?? '',
      headers: answer.headers,
    };
  }
  return {
    get: (path) => send('GET', path),
    post: (path, body) => send('POST', path, body),
    patch: (path, body) => send('PATCH', path, body),
    delete: (path) => send('DELETE', path),
  };
}

export function clientWithToken(baseUrl: string, token: string): Client {
  return createClient(baseUrl, { Authorization: `Bearer ${token}` });
}

/** Serves an application on a free port for the length of `fn`. */
export async function onPort<T>(app: Express, fn: (baseUrl: string) => Promise<T>): Promise<T> {
  const server = createHttpServer(app);
  const port = await server.listen(0);
  try {
    return await fn(`http://127.0.0.1:${port}`);
  } finally {
    await server.close(1000);
  }
}
