import fc from 'fast-check';
import { type Hints, idOf, resourceOfPath, valuesOf } from './arbitrary.ts';
import type { OpenApi, Operation, Parameter } from './document.ts';
import { hostileHeader, hostileJson, hostileRaw, hostileText, wrongValue } from './hostile.ts';

/** A request before it is sent: ids and credentials stand for those that the world will have then. */
export interface Request {
  operation: Operation;
  /** Whether all of it is as the document says. */
  valid: boolean;
  /** Who sends it: a tenant, and as what. */
  tenant: number;
  as: Credential;
  path: Record<string, string>;
  /** Not encoded yet; `raw` is sent as it is. */
  query: Record<string, unknown>;
  raw: string | undefined;
  headers: Record<string, string>;
  type: string | undefined;
  /** As a value, or as text. */
  body: { json: unknown } | { text: string } | undefined;
}

export const credentials = ['owner', 'viewer', 'key', 'none', 'junk'] as const;
export type Credential = (typeof credentials)[number];

type Mood = 'valid' | 'mutated' | 'hostile';
const moods = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Mood>('valid') },
  { weight: 3, arbitrary: fc.constant<Mood>('mutated') },
  { weight: 3, arbitrary: fc.constant<Mood>('hostile') },
);

/** Where a request has its mood, for what is wrong everywhere goes no further than the first place. */
const places = ['path', 'query', 'headers', 'type', 'body'] as const;
type Place = (typeof places)[number];

export function requestsOf(document: OpenApi, operations: readonly Operation[], tenants: number) {
  const each = operations.map((operation) =>
    fc
      .tuple(moods, fc.constantFrom(...places, undefined))
      .chain(([mood, place]) => requestOf(document, operation, { mood, place }, tenants)),
  );
  return fc.oneof(...each);
}

function requestOf(
  document: OpenApi,
  operation: Operation,
  { mood, place }: { mood: Mood; place: Place | undefined },
  tenants: number,
): fc.Arbitrary<Request> {
  const moodOf = (at: Place): Mood => (place === undefined || place === at ? mood : 'valid');
  const of = (at: Parameter['in']) => operation.parameters.filter((parameter) => parameter.in === at);
  const [first] = operation.bodies;
  const types = operation.bodies.map(({ type }) => type);
  const body = first === undefined ? fc.constant(undefined) : bodyOf(document, operation, moodOf('body'));
  return fc.record({
    operation: fc.constant(operation),
    valid: fc.constant(mood === 'valid'),
    tenant: fc.nat({ max: tenants - 1 }),
    as: fc.oneof(
      { weight: 12, arbitrary: fc.constant<Credential>('owner') },
      ...credentials.slice(1).map((as) => ({ weight: 1, arbitrary: fc.constant(as) })),
    ),
    path: pathOf(operation, moodOf('path')),
    query: queryOf(document, of('query'), moodOf('query')),
    raw:
      moodOf('query') === 'hostile'
        ? fc.option(rawQuery(of('query')), { nil: undefined, freq: 3 })
        : fc.constant(undefined),
    headers: headersOf(of('header'), moodOf('headers')),
    type:
      moodOf('type') === 'hostile' && first !== undefined
        ? fc.constantFrom(
            ...types,
            ...types,
            'text/plain',
            'application/json; charset=utf-16',
            'application/xml',
            undefined,
          )
        : fc.constantFrom(...(types.length === 0 ? [undefined] : types)),
    // Some come with a body where none is taken.
    body:
      first === undefined && moodOf('body') === 'hostile'
        ? fc.option(fc.record({ text: hostileJson }), { nil: undefined, freq: 6 })
        : body,
  });
}

function pathOf({ path }: Operation, mood: Mood): fc.Arbitrary<Record<string, string>> {
  if (!path.includes('{id}')) return fc.constant({});
  const known = idOf(resourceOfPath(path), { own: 12, foreign: 3, deleted: 2, unknown: 1 });
  const id =
    mood === 'hostile'
      ? fc.oneof({ weight: 3, arbitrary: known }, { weight: 1, arbitrary: hostileRaw })
      : known;
  return fc.record({ id });
}

/** Few of them at once: all together they find nothing. */
function queryOf(
  document: OpenApi,
  parameters: readonly Parameter[],
  mood: Mood,
): fc.Arbitrary<Record<string, unknown>> {
  if (parameters.length === 0) return fc.constant({});
  const valid = fc
    .subarray([...parameters], { maxLength: Math.min(3, parameters.length) })
    .chain((some) =>
      fc.record(Object.fromEntries(some.map((one) => [one.name, parameterOf(document, one)]))),
    );
  if (mood === 'valid') return valid;
  const name = fc.oneof(
    fc.constantFrom(...parameters.map((parameter) => parameter.name)),
    fc.constantFrom(
      'filter[tenantId]',
      'filter[sku][like]',
      'filter[__proto__]',
      '__proto__',
      'filter',
      'page',
      'fields[a]',
    ),
  );
  const value =
    mood === 'mutated' ? fc.oneof(fc.integer(), fc.string(), fc.constant('')) : hostileText.map(short);
  return fc.tuple(valid, name, value).map(([some, at, wrong]) => ({ ...some, [at]: wrong }));
}

function parameterOf(document: OpenApi, { name, schema }: Parameter): fc.Arbitrary<unknown> {
  const field = /^filter\[(\w+)\]/.exec(name)?.[1] ?? name;
  const cursor = fc.nat({ max: 50 }).map((index) => `@cursor:${index}`);
  return valuesOf(document, schema, { cursor }, field);
}

function rawQuery(parameters: readonly Parameter[]): fc.Arbitrary<string> {
  const name = fc.constantFrom(
    'a',
    'limit',
    ...parameters.map((parameter) => encodeURIComponent(parameter.name)),
  );
  return fc
    .array(fc.tuple(name, hostileRaw), { minLength: 1, maxLength: 4 })
    .map((pairs) => pairs.map(([key, value]) => `${key}=${value}`).join('&'));
}

function headersOf(parameters: readonly Parameter[], mood: Mood): fc.Arbitrary<Record<string, string>> {
  const tenant = fc.constantFrom('@slug', '@id');
  const valid: Record<string, fc.Arbitrary<string>> = {
    'X-Request-Id': fc.stringMatching(/^[\w.-]{1,20}$/),
    'If-Match': fc.constantFrom('@etag', '*', '"1.abcdef"'),
    'If-None-Match': fc.constantFrom('@etag', '*', 'W/"1.abcdef"'),
    'Consistency-Token': fc.constant('@token'),
    'Read-Consistency': fc.constantFrom('session', 'any', 'bounded; ms=500'),
    'Idempotency-Key': fc.nat({ max: 200 }).map((key) => `key-${key}`),
  };
  const entries = parameters.map(({ name, required = false }) => {
    const ordinary = name === 'X-Tenant-ID' ? tenant : (valid[name] ?? hostileHeader);
    const wrong =
      name === 'X-Tenant-ID' ? fc.oneof(fc.constantFrom('@foreign', 'nobody'), hostileHeader) : hostileHeader;
    const value =
      mood === 'hostile'
        ? fc.oneof({ weight: 2, arbitrary: ordinary }, { weight: 1, arbitrary: wrong })
        : ordinary;
    return [
      name,
      required && mood !== 'hostile' ? value : fc.option(value, { nil: undefined, freq: 2 }),
    ] as const;
  });
  return fc
    .record(Object.fromEntries(entries))
    .map((given) =>
      Object.fromEntries(
        Object.entries(given).filter((each): each is [string, string] => each[1] !== undefined),
      ),
    );
}

function bodyOf(document: OpenApi, operation: Operation, mood: Mood): fc.Arbitrary<Request['body']> {
  const schema = operation.bodies[0]?.schema ?? {};
  const valid = valuesOf(document, schema, hintsOf(operation.id)).map((json) => ({ json }));
  if (mood === 'valid') return valid;
  const mutated = fc
    .tuple(
      valid,
      fc.nat(),
      fc.constantFrom('replace', 'remove', 'add'),
      wrongValue,
      fc.oneof(hostileText.map(short), fc.constantFrom('tenantId', 'id', 'version', 'role')),
    )
    .map(([{ json }, place, change, value, key]) => ({ json: mutate(json, place, change, value, key) }));
  return mood === 'mutated'
    ? mutated
    : fc.oneof({ weight: 2, arbitrary: mutated }, { weight: 1, arbitrary: fc.record({ text: hostileJson }) });
}

/** Credentials that are the world's, or nothing would ever be let in. */
function hintsOf(id: string): Hints {
  if (id === 'login') {
    return {
      email: fc.oneof({ weight: 3, arbitrary: fc.constant('@email') }, fc.constant('nobody@nowhere.test')),
      password: fc.oneof({ weight: 3, arbitrary: fc.constant('@password') }, fc.string({ maxLength: 90 })),
    };
  }
  if (id === 'changePassword') {
    return {
      currentPassword: fc.oneof(
        { weight: 3, arbitrary: fc.constant('@password') },
        fc.string({ maxLength: 90 }),
      ),
      newPassword: fc.constant('@password'),
    };
  }
  if (id === 'refresh' || id === 'logout') {
    return {
      refreshToken: fc.oneof(fc.constantFrom('@refresh', '@refresh', '@foreignRefresh'), fc.string()),
    };
  }
  // Who is an owner could remove the one that the world logs in as.
  return { role: fc.constantFrom('member', 'viewer', 'admin') };
}

/** Changes one of all the places of a value. */
function mutate(json: unknown, place: number, change: string, value: unknown, key: string): unknown {
  const copy = structuredClone(json);
  const places: [Record<string, unknown>, string][] = [];
  const visit = (item: unknown): void => {
    if (typeof item !== 'object' || item === null) return;
    for (const [name, inner] of Object.entries(item)) {
      places.push([item as Record<string, unknown>, name]);
      visit(inner);
    }
  };
  visit(copy);
  const at = places[place % Math.max(1, places.length)];
  if (at === undefined) return value;
  const [holder, name] = at;
  if (change === 'remove' && !Array.isArray(holder)) delete holder[name];
  else if (change === 'add' && !Array.isArray(holder)) {
    Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
  } else holder[name] = value;
  return copy;
}

/** An address of 16 kB is refused by Node before anybody sees it. */
const short = (text: string): string => text.slice(0, 1500);
