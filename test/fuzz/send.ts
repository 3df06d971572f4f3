import { Agent, request } from 'node:http';

export interface Sent {
  method: string;
  /** With the query, as it goes over the wire. */
  target: string;
  headers: Record<string, string>;
  body: string | undefined;
}

export interface Answer {
  status: number;
  headers: Record<string, string>;
  text: string;
}

export type Send = (sent: Sent) => Promise<Answer>;

/** Over connections that are kept; nothing is encoded, followed or tried again. */
export function sender(baseUrl: string): { send: Send; close: () => void } {
  const { hostname, port } = new URL(baseUrl);
  const agent = new Agent({ keepAlive: true });
  return {
    close: () => agent.destroy(),
    send: ({ method, target, headers, body }) =>
      new Promise((resolve, reject) => {
        const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
        const sent = request({
          hostname,
          port,
          agent,
          method,
          path: target,
          headers: { ...headers, ...length },
        });
        sent.on('error', reject);
        sent.on('response', (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () =>
            resolve({
              status: answer.statusCode ?? 0,
              headers: answer.headers as Record<string, string>,
              text: Buffer.concat(chunks).toString(),
            }),
          );
        });
        sent.end(body);
      }),
  };
}
