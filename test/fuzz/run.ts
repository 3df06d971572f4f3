import fc from 'fast-check';
import type { TestTenantry } from '../support/tenantry.ts';
import { resourceOfPath } from './arbitrary.ts';
import { type OpenApi, type Operation, operationsOf } from './document.ts';
import { createOracle } from './oracle.ts';
import { type Credential, type Request, requestsOf } from './requests.ts';
import type { Answer, Send, Sent } from './send.ts';
import { type Inhabitant, meant, type Person } from './world.ts';

/** Sends what no client should, and what every client does, and holds each answer to the document. */
export interface Fuzz {
  service: TestTenantry;
  document: OpenApi;
  world: Inhabitant[];
  send: Send;
  requests: number;
  seed: number;
  /** Of the operations' ids. Default: all. */
  only?: RegExp;
}

export interface Outcome {
  /** Of each kind the first one. */
  violations: Violation[];
  /** By operation, how often each status came. */
  statuses: Map<string, Map<number, number>>;
}

export interface Violation {
  operation: string;
  text: string;
  /** Which request it was: `requests` of this and more come to it again. */
  index: number;
  sent: Sent;
  times: number;
}

export async function fuzz({
  service,
  document,
  world,
  send,
  requests,
  seed,
  only = /./,
}: Fuzz): Promise<Outcome> {
  const operations = operationsOf(document).filter(({ id }) => only.test(id));
  const examine = createOracle(document);
  const statuses: Outcome['statuses'] = new Map(operations.map(({ id }) => [id, new Map<number, number>()]));
  const violations = new Map<string, Violation>();
  const arbitrary = requestsOf(document, operations, world.length);

  for (const [index, request] of fc.sample(arbitrary, { seed, numRuns: requests }).entries()) {
    const { operation, tenant } = request;
    const sent = wire(world, request);
    const note = (text: string) => {
      const kind = `${operation.id} ${text.replaceAll(/"[^"]*"|\/\d+/g, '')}`;
      const known = violations.get(kind);
      if (known === undefined) violations.set(kind, { operation: operation.id, text, index, sent, times: 1 });
      else known.times += 1;
    };
    const answer = await send(sent).catch((error: Error) => error);
    // An error of another realm, under a test runner, is no instance of ours.
    if (!('status' in answer)) {
      note(`no answer: ${answer.message}`);
      continue;
    }
    const counts = statuses.get(operation.id);
    counts?.set(answer.status, (counts.get(answer.status) ?? 0) + 1);
    const faults = examine(operation, sent, answer, secretsFor(world, request));
    for (const text of [...faults, ...(request.valid ? refusals(answer) : [])]) note(text);
    learn(world, tenant, operation, sent, answer);
    if (operation.id === 'changePassword' && answer.status === 204) changed(world[tenant], request.as, sent);
    if (answer.status === 401 && (request.as === 'owner' || request.as === 'viewer')) {
      await renew(service, world[tenant], request.as);
    }
  }
  return { violations: [...violations.values()], statuses };
}

/**
 * No schema can tell these: whose a cursor is, how many bytes a password has, whether a time is over, and which parameters
 * need or exclude one another.
 */
const beyondSchemas =
  /^(cursor invalid_cursor|Consistency-Token invalid_token|\/(new)?[pP]assword too_long|\/expiresAt too_small|filter required|Idempotency-Key not_supported|(limit|cursor|count|sort) unrecognized_keys|.* custom)$/;

function refusals({ status, text }: Answer): string[] {
  if (![400, 413, 415].includes(status)) return [];
  const { detail, errors } = JSON.parse(text) as {
    detail: string;
    errors: { pointer: string; code: string }[];
  };
  if (errors.length > 0 && errors.every(({ pointer, code }) => beyondSchemas.test(`${pointer} ${code}`)))
    return [];
  return [
    `${status}, though it is as described: ${detail} ${errors.map(({ pointer, code }) => `${pointer} ${code}`).join()}`,
  ];
}

/** What must not come: markers of all others, and ids of theirs. A stranger may see nothing of anybody. */
function secretsFor(world: readonly Inhabitant[], { tenant, operation }: Request): string[] {
  const others = world.filter((_, index) => operation.open || index !== tenant);
  return others.flatMap(({ marker, ids }) => [
    marker,
    ...[...Object.values(ids.own), ...Object.values(ids.deleted)].flatMap((each) => [
      ...each.slice(0, 5),
      ...each.slice(-5),
    ]),
  ]);
}

function wire(world: readonly Inhabitant[], request: Request): Sent {
  const { operation, tenant, as, path, query, raw, headers, type, body } = request;
  const real = (text: string) => meant(world, tenant, text, personOf(as));
  const address = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => real(path[name] ?? ''));
  const pairs = Object.entries(query).map(([name, value]) => `${encoded(name)}=${queryValue(value, real)}`);
  const search = [...pairs, ...(raw === undefined ? [] : [raw])].join('&');
  const credential = as === 'none' ? undefined : world[tenant]?.credentials[as];
  const write = type?.includes('ndjson') ? lines : JSON.stringify;
  return {
    method: operation.method,
    target: search === '' ? address : `${address}?${search}`,
    headers: {
      ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, real(value)])),
      ...(operation.open || credential === undefined ? {} : { Authorization: `Bearer ${credential}` }),
      ...(type === undefined ? {} : { 'Content-Type': type }),
      ...(type === undefined && body !== undefined && 'text' in body
        ? { 'Content-Type': 'application/json' }
        : {}),
    },
    body: body === undefined ? undefined : 'text' in body ? body.text : write(withReal(body.json, real)),
  };
}

/** A row in each line. */
function lines(json: unknown): string {
  return Array.isArray(json) ? json.map((row) => JSON.stringify(row)).join('\n') : JSON.stringify(json);
}

function queryValue(value: unknown, real: (text: string) => string): string {
  const texts = (Array.isArray(value) ? value : [value]).map((each) =>
    typeof each === 'string' ? real(each) : String(each),
  );
  // A comma in a value of several is written apart from those between them.
  return encoded(
    Array.isArray(value) ? texts.map((each) => each.replaceAll(',', '\\,')).join() : (texts[0] ?? ''),
  );
}

const encoded = (text: string): string => encodeURIComponent(text.toWellFormed());

function withReal(json: unknown, real: (text: string) => string): unknown {
  if (typeof json === 'string') return real(json);
  if (Array.isArray(json)) return json.map((each) => withReal(each, real));
  if (typeof json !== 'object' || json === null) return json;
  // Not assigned: a key may be __proto__.
  return Object.fromEntries(Object.entries(json).map(([key, each]) => [key, withReal(each, real)]));
}

const most = 200;

function learn(
  world: readonly Inhabitant[],
  tenant: number,
  { method, path }: Operation,
  sent: Sent,
  answer: Answer,
) {
  const own = world[tenant];
  if (own === undefined || answer.status >= 300) return;
  const { etag, 'consistency-token': token } = answer.headers;
  if (etag !== undefined && path.includes('{id}')) own.etags = [etag];
  if (token !== undefined) own.tokens = [token];
  const resource = resourceOfPath(path);
  const ids = (own.ids.own[resource] ??= []);
  const body = answer.headers['content-type']?.includes('/json')
    ? (JSON.parse(answer.text) as Record<string, unknown>)
    : {};
  const id = body['id'];
  if (answer.status === 201 && ids.length < most && typeof id === 'string') ids.push(id);
  if (method === 'DELETE' && path.includes('{id}')) {
    const gone = sent.target.split('/')[3] ?? '';
    own.ids.deleted[resource]?.push(gone);
    if (ids.length > 2) own.ids.own[resource] = ids.filter((id) => id !== gone);
  }
  const { next } = (body['page'] ?? {}) as { next?: string | null };
  if (typeof next === 'string') own.cursors = [...own.cursors.slice(-50), next];
  const refresh = body['refreshToken'];
  if (typeof refresh === 'string') {
    world.find((each) => refresh.includes(each.tenant.id))?.refreshTokens.push(refresh);
  }
}

const personOf = (as: Credential): Person => (as === 'viewer' ? 'viewer' : 'owner');

function changed(inhabitant: Inhabitant | undefined, as: Credential, { body }: Sent): void {
  const { newPassword } = JSON.parse(body ?? '{}') as { newPassword?: string };
  if (inhabitant !== undefined && newPassword !== undefined) {
    inhabitant.logins[personOf(as)].password = newPassword;
  }
}

/** What was sent may have ended its own session. */
async function renew(service: TestTenantry, inhabitant: Inhabitant | undefined, as: Person): Promise<void> {
  if (inhabitant === undefined) return;
  const { tenant, credentials, logins } = inhabitant;
  const { body, status } = await service
    .api()
    .post('/v1/auth/login')
    .set('X-Tenant-ID', tenant.slug)
    .send(logins[as]);
  if (status !== 200) throw new Error(`The ${as} of ${tenant.slug} cannot log in any more: ${status}`);
  const { accessToken, refreshToken } = body as { accessToken: string; refreshToken: string };
  credentials[as] = accessToken;
  inhabitant.refreshTokens.push(refreshToken);
}

export function report({ violations, statuses }: Outcome): string {
  const counted = [...statuses].map(
    ([id, counts]) =>
      `  ${id}: ${[...counts]
        .toSorted(([a], [b]) => a - b)
        .map(([status, times]) => `${status}×${times}`)
        .join(' ')}`,
  );
  const found = violations.map(
    ({ operation, text, index, sent, times }) =>
      `VIOLATION of ${operation}, ${times} times, first by request ${index}: ${text}\n` +
      `    ${sent.method} ${sent.target.slice(0, 400)} ${JSON.stringify(sent.headers)
        .replaceAll(/Bearer [^"]+/g, 'Bearer …')
        .slice(0, 600)} ${sent.body?.slice(0, 600) ?? ''}`,
  );
  return [...counted, ...found].join('\n');
}
