import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Request, Response } from 'express';
import { z } from 'zod';
import { parseQuery } from '../../http/validate.ts';
import type { KeptEvent } from './runs.ts';
import type { FleetService } from './service.ts';

const lookMs = 250;
/** Proxies close what is silent for longer than half a minute or so. */
const aliveMs = 15_000;
const querySchema = z.strictObject({ after: z.coerce.number().int().min(0).optional() });

/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) of a run: all from its beginning,
 * or, for whoever has been here before, those after `Last-Event-ID`. Ends with an event `end` when the run has ended.
 *
 * @throws AppError not_found, invalid_input, before anything is sent
 */
export async function followRun(
  fleet: Pick<FleetService, 'get' | 'events'>,
  id: string,
  req: Request,
  res: Response,
  draining: () => boolean,
): Promise<void> {
  const { after } = parseQuery(querySchema, req);
  let seen = after ?? Number(/^\d{1,15}$/.exec(req.get('last-event-id') ?? '')?.[0] ?? 0);
  await fleet.get(id);
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  const { signal } = gone;

  // X-Accel-Buffering: nginx would keep back what is short.
  res.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    'X-Accel-Buffering': 'no',
  });
  res.flushHeaders();
  let silentMs = 0;
  while (!signal.aborted && !draining()) {
    // The run first: events that come between the two questions are found by the second.
    const run = await fleet.get(id);
    const events = await fleet.events(id, seen);
    if (events.length > 0) {
      const room = res.write(events.map(told).join(''));
      if (!room) await once(res, 'drain', { signal }).catch(() => undefined);
      seen = events.at(-1)?.seq ?? seen;
      silentMs = 0;
      continue;
    }
    if (run.finishedAt !== null) {
      res.write(`event: end\ndata: ${JSON.stringify(run)}\n\n`);
      break;
    }
    await sleep(lookMs, undefined, { signal }).catch(() => undefined);
    silentMs += lookMs;
    if (silentMs >= aliveMs) {
      res.write(': still here\n\n');
      silentMs = 0;
    }
  }
  res.end();
}

function told({ seq, at, event }: KeptEvent): string {
  return `id: ${seq}\nevent: ${String(event['type'])}\ndata: ${JSON.stringify({ at, ...event })}\n\n`;
}
