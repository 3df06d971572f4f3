import { setTimeout as pause } from 'node:timers/promises';
import { windowMs } from './arena.ts';
import { type Operation, valueOf } from './operation.ts';
import type { Random } from './random.ts';
import { type Member, productOf, type Register, registerMark } from './tenants.ts';
import { type Answered, ask } from './wire.ts';

/** One client at its work: an operation at a time, each of which knows of those before it. */
export interface SessionOptions {
  name: string;
  member: Member;
  /** Of all processes. */
  urls: readonly string[];
  /**
   * The process that it asks; undefined: now this one, now that, with the Consistency-Token it was given last. It is
   * promised nothing before it has one, so it begins with a write.
   */
  home: number | undefined;
  random: Random;
  record: Recorder;
  over: AbortSignal;
}

export interface Recorder {
  begin(write: Operation): void;
  end(operation: Operation): void;
}

interface Product {
  sku: string;
  description: string | null;
}

export async function runSession(options: SessionOptions): Promise<void> {
  const { member, random, over } = options;
  const { own, registers } = member;
  const client = createClient(options);
  let written = 0;
  let added = 0;

  async function step(): Promise<void> {
    if (own === undefined) {
      await (random.percent(30) ? client.list() : client.read(random.pick(registers)));
      return;
    }
    const choice = client.isPromised() ? random.between(1, 100) : 1;
    if (choice <= 35) {
      written += 1;
      await client.write(own, written);
      // Most of what goes wrong goes wrong at once.
      if (client.isPromised() && random.percent(60)) await client.read(own);
    } else if (choice <= 40) {
      added += 1;
      const made = await client.add(`${own.name}-${added}`);
      if (made !== undefined) await client.read(made);
    } else if (choice <= 65) await client.read(own);
    else if (choice <= 90) await client.read(random.pick(registers));
    else await client.list();
  }

  while (!over.aborted) {
    await step();
    // Now and then it comes back when its window is over.
    const restMs = random.percent(2) ? random.between(windowMs, windowMs * 2) : random.between(0, 30);
    await pause(restMs, undefined, { signal: over }).catch(() => undefined);
  }
}

/** The four things a session does, each recorded. */
function createClient({ name, member, urls, home, random, record }: SessionOptions) {
  const { tenant, authorization, registers } = member;
  let token: string | undefined;

  async function send(method: string, path: string, body?: object) {
    const process = home ?? random.between(0, urls.length - 1);
    const startMs = performance.now();
    const headers = {
      Authorization: authorization,
      ...(home === undefined && token !== undefined ? { 'Consistency-Token': token } : {}),
    };
    const begun = { session: name, tenant, process, startMs };
    const asked = { method, headers, ...(body === undefined ? {} : { body }) };
    return {
      begun,
      answer: ask(`${urls[process]}${path}`, asked).then((answered) => {
        token = answered.token ?? token;
        return answered;
      }),
    };
  }

  async function change(method: string, path: string, body: object, register: string, number: number) {
    const { begun, answer } = await send(method, path, body);
    const sent: Operation = {
      ...begun,
      kind: 'write',
      register,
      value: valueOf(tenant, register, number),
      outcome: 'unknown',
      endMs: Infinity,
      servedBy: '',
    };
    record.begin(sent);
    const answered = await answer;
    record.end({ ...sent, ...endOf(answered) });
    return answered;
  }

  async function look(
    path: string,
    seen: (body: unknown) => [register: string, value: string | undefined][],
  ) {
    const { begun, answer } = await send('GET', path);
    const answered = await answer;
    const found: [string, string | undefined][] =
      answered.status < 300 ? seen(answered.body) : seen(undefined);
    const end = answered.status === 404 ? { ...endOf(answered), outcome: 'ok' as const } : endOf(answered);
    for (const [register, value] of found) {
      record.end({ ...begun, kind: 'read', register, value, ...end });
    }
  }

  return {
    isPromised: () => home !== undefined || token !== undefined,
    write: (register: Register, number: number) =>
      change(
        'PATCH',
        `/v1/products/${register.id}`,
        { description: valueOf(tenant, register.name, number) },
        register.name,
        number,
      ),
    /** A register that is written once. @returns undefined when it is not known to be there */
    async add(register: string): Promise<Register | undefined> {
      const { body, status } = await change(
        'POST',
        '/v1/products',
        productOf(tenant, register, 'once', 1),
        register,
        1,
      );
      return status === 201 ? { name: register, id: (body as { id: string }).id } : undefined;
    },
    read: (register: Register) =>
      look(`/v1/products/${register.id}`, (body) => [
        [register.name, (body as Product | undefined)?.description ?? undefined],
      ]),
    /** All registers of the tenant, in one statement. */
    list: () =>
      look(`/v1/products?limit=100&filter[name]=${registerMark}`, (body) => {
        const products = (body as { data: Product[] } | undefined)?.data ?? [];
        const values = new Map(products.map(({ sku, description }) => [sku, description ?? undefined]));
        const names = new Set([...registers.map((register) => register.name), ...values.keys()]);
        return [...names].map((register) => [register, values.get(register)]);
      }),
  };
}

/** Anything above 499 may come after the commit, or before it. */
function endOf({ status, servedBy, body }: Answered): Pick<Operation, 'outcome' | 'endMs' | 'servedBy'> {
  const lost = status === 0 || status >= 500;
  const outcome = lost ? 'unknown' : status < 300 ? 'ok' : 'refused';
  const detail = (body as { detail?: string } | undefined)?.detail ?? '';
  return {
    outcome,
    endMs: performance.now(),
    servedBy: outcome === 'ok' ? servedBy : `${status} ${detail} ${servedBy}`.trim(),
  };
}
