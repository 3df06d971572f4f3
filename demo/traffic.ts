import { Agent, request } from 'node:http';

/**
 * Requests at a steady rate, whether earlier ones have been answered or not: a service that stalls is seen to stall,
 * while clients that wait for their answers would spare it.
 */
export interface Traffic {
  /** In the order in which they were answered. */
  readonly done: readonly Exchange[];
  /** Resolves when all that was sent has been answered. May be called twice. */
  stop(): Promise<void>;
}

export interface Exchange {
  /** 0: no answer came. */
  status: number;
  retryAfter: string | undefined;
  /** The header as it stands. */
  servedBy: string;
  /** Of the request, counted from 1. */
  number: number;
  startMs: number;
  endMs: number;
}

export interface TrafficOptions {
  perS: number;
  /** What to ask, from the number of the request. */
  asked: (number: number) => Asked;
}

export interface Asked {
  url: string;
  authorization: string;
  /** Makes it a POST. */
  body?: object;
}

/** How often the clock is looked at; what is due by then is sent together. */
const tickMs = 5;

export function startTraffic({ perS, asked }: TrafficOptions): Traffic {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const done: Exchange[] = [];
  const underWay = new Set<Promise<void>>();
  const startedMs = performance.now();
  let sent = 0;

  async function exchange(number: number): Promise<void> {
    const startMs = performance.now();
    const answered = await send(asked(number), agent);
    done.push({ ...answered, number, startMs, endMs: performance.now() });
  }

  const timer = setInterval(() => {
    const due = ((performance.now() - startedMs) * perS) / 1000;
    while (sent < due) {
      sent += 1;
      const running = exchange(sent).finally(() => underWay.delete(running));
      underWay.add(running);
    }
  }, tickMs);

  return {
    done,
    async stop() {
      clearInterval(timer);
      await Promise.all(underWay);
      agent.destroy();
    },
  };
}

type Answered = Pick<Exchange, 'status' | 'retryAfter' | 'servedBy'>;
const unanswered: Answered = { status: 0, retryAfter: undefined, servedBy: '' };

function send({ url, authorization, body }: Asked, agent: Agent): Promise<Answered> {
  return new Promise((resolve) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const outgoing = request(url, {
      agent,
      method: text === undefined ? 'GET' : 'POST',
      headers: {
        Authorization: authorization,
        ...(text === undefined
          ? {}
          : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
      },
    });
    outgoing.on('error', () => resolve(unanswered));
    outgoing.on('response', (incoming) => {
      incoming.on('error', () => resolve(unanswered));
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          retryAfter: incoming.headers['retry-after'],
          servedBy: String(incoming.headers['served-by'] ?? ''),
        }),
      );
      incoming.resume();
    });
    outgoing.end(text);
  });
}
