import type { Request } from 'autocannon';
import { productsPerTenant, tenantCount, usersPerTenant } from './population.ts';
import { pageSize, type Requests } from './request.ts';
import { countRead, type Routing } from './routing.ts';

/**
 * The users that one connection of RW plays in turn. A tenant belongs to one connection, which does one thing after the
 * other; so it knows at every moment what each of its users has written and must see.
 */
export interface Actors {
  next(): Request;
  answered(status: number, body: string, context: object, headers: Request['headers']): void;
}

interface Actor {
  tenant: number;
  user: number;
  lastId?: string;
  /** Of the last write, when it was acknowledged. */
  writtenAtMs: number;
  /** How many products its tenant had got by then, from anybody. */
  tenantWrites: number;
}

const firstUser = 2;
const writeShare = 0.1;
const pageShare = 0.2;
const ownShare = 0.5;
/** How often the actor of one request makes the next one, too: reading at once what one wrote is the hard case. */
const stayShare = 0.5;

export function createActors(given: {
  requests: Requests;
  connection: number;
  connections: number;
  run: string;
  windowMs: number;
  routing: Routing;
}): Actors {
  const { requests, connection, connections, run, windowMs, routing } = given;
  const actors: Actor[] = [];
  for (let tenant = connection; tenant < tenantCount; tenant += connections) {
    for (let user = firstUser; user < usersPerTenant; user += 1) {
      actors.push({ tenant, user, writtenAtMs: -Infinity, tenantWrites: 0 });
    }
  }
  const writesOf = new Map<number, number>();
  let skus = 0;
  let current: Actor | undefined;
  let answered: Actors['answered'] = () => undefined;

  function write(actor: Actor): Request {
    answered = (status, body) => {
      if (status !== 201) return;
      actor.lastId = (JSON.parse(body) as { id: string }).id;
      actor.writtenAtMs = performance.now();
      actor.tenantWrites = (writesOf.get(actor.tenant) ?? 0) + 1;
      writesOf.set(actor.tenant, actor.tenantWrites);
    };
    skus += 1;
    return requests.insert(actor.tenant, actor.user, `${run}-${connection}-${skus}`);
  }

  /** @param mustShow an id that the answer has to hold */
  function read(actor: Actor, mustShow: string | undefined, request: Request): Request {
    const inWindow = performance.now() - actor.writtenAtMs < windowMs;
    answered = (status, body, _context, headers) => {
      countRead(routing, servedBy(headers), inWindow);
      if (mustShow === undefined) return;
      routing.ownReads += 1;
      if (status !== 200 || !body.includes(mustShow)) routing.stale += 1;
    };
    return request;
  }

  return {
    next() {
      const stays = Math.random() < stayShare;
      const actor = (stays ? current : undefined) ?? actors[Math.floor(Math.random() * actors.length)];
      if (actor === undefined) throw new Error('There are more connections than tenants');
      current = actor;
      const { tenant, user, lastId } = actor;
      if (Math.random() < writeShare) return write(actor);
      if (Math.random() < pageShare) {
        const since = (writesOf.get(tenant) ?? 0) - actor.tenantWrites;
        return read(actor, since < pageSize ? lastId : undefined, requests.page(tenant, user));
      }
      if (lastId !== undefined && Math.random() < ownShare) {
        return read(actor, lastId, requests.byId(tenant, user, lastId));
      }
      const product = Math.floor(Math.random() * productsPerTenant);
      return read(actor, undefined, requests.product(tenant, user, product));
    },
    answered: (...answer) => answered(...answer),
  };
}

function servedBy(headers: Request['headers']): string | undefined {
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (name.toLowerCase() === 'served-by') return String(value);
  }
  return undefined;
}
