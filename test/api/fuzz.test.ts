import { beforeAll, describe, expect, it, jest } from '@jest/globals';
import express, { type Response } from 'express';
import type { OpenApi } from '../fuzz/document.ts';
import { fuzz, type Outcome, report } from '../fuzz/run.ts';
import { type Send, sender } from '../fuzz/send.ts';
import { type Inhabitant, settle } from '../fuzz/world.ts';
import { useDatabase } from '../support/database.ts';
import { onPort } from '../support/http.ts';
import { useTenantry } from '../support/tenantry.ts';

/** `npm run fuzz` sets these; docs/testing.md tells of it. */
const requests = Number(process.env['FUZZ_REQUESTS'] ?? 1500);
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);
const only = new RegExp(process.env['FUZZ_ONLY'] ?? '.');
const whole = only.source === '.';
jest.setTimeout(60_000 + requests * 100);

const database = useDatabase();
// A thousand wrong passwords are no attack here.
const service = useTenantry(database, {
  env: { LOGIN_FAILURES_PER_ACCOUNT: '1000000', LOGIN_FAILURES_PER_ADDRESS: '1000000' },
});

let document: OpenApi;
let world: Inhabitant[];
beforeAll(async () => {
  document = (await service.api().get('/openapi.json').expect(200)).body as OpenApi;
  world = await settle(service);
});

const without = (headers: Record<string, string>, name: string) =>
  Object.fromEntries(Object.entries(headers).filter(([each]) => each !== name));
const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function fuzzApp(
  app: express.Express,
  more: { requests: number; seed: number; only?: RegExp },
  wrap = (send: Send) => send,
  inhabitants = world,
) {
  return onPort(app, async (baseUrl) => {
    const { send, close } = sender(baseUrl);
    try {
      return await fuzz({ service, document, world: inhabitants, send: wrap(send), ...more });
    } finally {
      close();
    }
  });
}

describe('whatever is sent to the tenant API', () => {
  let outcome: Outcome;
  beforeAll(async () => {
    say(`fuzz: ${requests} requests; again by npm run fuzz -- --requests ${requests} --seed ${seed}`);
    outcome = await fuzzApp(service.tenantry.tenantApp, { requests, seed, only });
    if (outcome.violations.length > 0 || process.env['FUZZ_REQUESTS'] !== undefined) say(report(outcome));
  });

  it('is answered as the description says, with no fault of ours, and with nothing of another tenant', () => {
    expect(outcome.violations).toEqual([]);
  });

  (whole ? it : it.skip)('gets through to every operation', async () => {
    const missed = refusedAlone(outcome);
    if (missed.length === 0) return;
    // What it did may have deleted what they need: again where all of it is there.
    const others = await settle(service, 'fresh');
    const only = new RegExp(`^(${missed.join('|')})$`);
    const again = { requests: 200 * missed.length, seed, only };
    expect(refusedAlone(await fuzzApp(service.tenantry.tenantApp, again, undefined, others))).toEqual([]);
  });
});

/** Operations of which no request has been answered but with a refusal. */
function refusedAlone({ statuses }: Outcome): string[] {
  return [...statuses].flatMap(([id, counts]) =>
    [...counts.keys()].some((status) => status < 400) ? [] : [id],
  );
}

describe('the fuzzer sees', () => {
  const few = { requests: 60, seed: 1, only: /^getProduct$/ };
  const texts = ({ violations }: Outcome) => violations.map(({ text }) => text);
  const changed =
    (change: (answer: Awaited<ReturnType<Send>>) => object) =>
    (send: Send): Send =>
    async (sent) => {
      const answer = await send(sent);
      return answer.status === 200 ? { ...answer, ...change(answer) } : answer;
    };

  it.each([
    ['a status that is not declared', () => ({ status: 202 }), /^202 is not declared/],
    ['a fault of ours', () => ({ status: 503 }), /^503: /],
    [
      'a field too many',
      ({ text }) => ({ text: text.replace('{', '{"x":1,') }),
      /not as declared: \/ must NOT have additional/,
    ],
    [
      'a field of another type',
      ({ text }) => ({ text: text.replace(/"stock":\d+/, '"stock":"1"') }),
      /\/stock must be integer/,
    ],
    [
      'a type of body that is not declared',
      ({ headers }) => ({ headers: { ...headers, 'content-type': 'text/plain' } }),
      /is text\/plain/,
    ],
    ['a header that is missing', ({ headers }) => ({ headers: without(headers, 'etag') }), /has no etag/],
    [
      'a header that is not declared',
      ({ headers }) => ({ headers: { ...headers, 'x-served-for': 'me' } }),
      /x-served-for, which is not declared/,
    ],
    [
      'a header of another form',
      ({ headers }) => ({ headers: { ...headers, 'server-timing': 'soon' } }),
      /a server-timing that is not as declared/,
    ],
  ] satisfies [string, (answer: Awaited<ReturnType<Send>>) => object, RegExp][])(
    '%s',
    async (_, change, expected) => {
      const found = texts(await fuzzApp(service.tenantry.tenantApp, few, changed(change)));
      expect(found).toContainEqual(expect.stringMatching(expected));
    },
  );

  it('a row of another tenant, by its marker and by its id', async () => {
    const victim = world[1];
    if (victim === undefined) throw new Error('There is nobody to steal from');
    const login = victim.logins.owner;
    const owner = await service.login('fuzz-1', login.email, login.password);
    const product = { sku: 'stolen', name: victim.marker, priceCents: 1, stock: 1 };
    const stolen = await owner.post('/v1/products').send(product).expect(201);
    const { id } = stolen.body as { id: string };
    victim.ids.own['products']?.push(id);
    const leaking = express().disable('x-powered-by');
    leaking.get('/v1/products/:id', (_req, res, next) => {
      const end = res.end.bind(res);
      const leak: (text: string) => Response = (text) => {
        const sent = res.statusCode === 200 ? stolen.text : text;
        res.setHeader('Content-Length', Buffer.byteLength(sent));
        return end(sent);
      };
      Object.assign(res, { end: leak });
      next();
    });
    leaking.use(service.tenantry.tenantApp);
    const found = texts(await fuzzApp(leaking, few));
    expect(found).toContainEqual(expect.stringContaining(`another tenant's ${victim.marker}`));
    expect(found).toContainEqual(expect.stringContaining(`another tenant's ${id}`));
  });
});
