import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A network between two programs that a test can cut: while it is paused, nothing arrives and nothing is refused. */
export interface Proxy {
  readonly port: number;
  /** The same URL, by way of the proxy. */
  through(url: string): string;
  pause(): void;
  /** What was held back arrives. Connections opened meanwhile are destroyed: nobody has answered them. */
  heal(): void;
  close(): Promise<void>;
}

interface Pair {
  client: Socket;
  upstream: Socket | undefined;
}

/** @param to such as a database URL; its host and port count */
export async function startProxy(to: string): Promise<Proxy> {
  const { hostname, port: targetPort } = new URL(to);
  const pairs = new Set<Pair>();
  let paused = false;

  const server = createServer((client) => {
    const pair: Pair = { client, upstream: undefined };
    pairs.add(pair);
    client.on('error', () => client.destroy());
    client.on('close', () => {
      pairs.delete(pair);
      pair.upstream?.destroy();
    });
    if (paused) {
      client.pause();
      return;
    }
    const upstream = connect(Number(targetPort), hostname);
    pair.upstream = upstream;
    upstream.on('error', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.on('data', (chunk) => upstream.write(chunk));
    upstream.on('data', (chunk) => client.write(chunk));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a string only for a pipe

  return {
    port,
    through(url) {
      const proxied = new URL(url);
      proxied.port = String(port);
      return proxied.href;
    },
    pause() {
      paused = true;
      for (const { client, upstream } of pairs) {
        client.pause();
        upstream?.pause();
      }
    },
    heal() {
      paused = false;
      for (const { client, upstream } of pairs) {
        if (upstream === undefined) client.destroy();
        client.resume();
        upstream?.resume();
      }
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const { client } of pairs) client.destroy();
      await closed;
    },
  };
}
