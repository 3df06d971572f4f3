import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { type OpenApi, type Operation, resolve, type Response, type Schema } from './document.ts';
import type { Answer, Sent } from './send.ts';

/** What must hold for every answer, whatever was asked. Answers with what does not. */
export type Oracle = (
  operation: Operation,
  sent: Sent,
  answer: Answer,
  secrets: readonly string[],
) => string[];

/** Of every answer of every server of HTTP, or of helmet; what the API says by headers is in the document. */
const ordinary =
  /^(date|connection|keep-alive|content-(type|length|security-policy)|transfer-encoding|vary|cache-control|cross-origin-.*|origin-agent-cluster|referrer-policy|strict-transport-security|x-(content-type-options|dns-prefetch-control|download-options|frame-options|permitted-cross-domain-policies|xss-protection))$/;

export function createOracle(document: OpenApi): Oracle {
  const whole = validators(document, 'whole');
  const partial = validators(withoutRequired(document), 'partial');

  function bodyFaults(
    operation: Operation,
    sent: Sent,
    answer: Answer,
    pointer: string,
    response: Response,
  ): string[] {
    const { status, text, headers } = answer;
    const type = (headers['content-type'] ?? '').replace(/;.*$/, '');
    const declared = Object.keys(response.content ?? {});
    if (declared.length === 0) return text === '' ? [] : [`${status} has a body, and none is declared`];
    if (!declared.includes(type))
      return [`${status} is ${type || 'without a type'}, not ${declared.join(' or ')}`];
    if (!type.endsWith('json')) return [];
    const rows = type === 'application/x-ndjson';
    let body: unknown;
    try {
      body = rows ? pageOf(text) : JSON.parse(text);
    } catch {
      return [`${status} is no JSON`];
    }
    const fields = status === 200 ? asked(sent) : undefined;
    const validate = (fields === undefined ? whole : partial)(pointer, rows ? 'application/json' : type);
    const faults = validate(body)
      ? []
      : (validate.errors ?? []).map(
          ({ instancePath, message }) =>
            `${status} is not as declared: ${instancePath || '/'} ${message ?? ''}`,
        );
    return [...new Set(faults), ...(fields === undefined ? [] : unasked(body, fields, operation))];
  }

  function headerFaults({ status, headers }: Answer, { headers: declared = {} }: Response): string[] {
    const known = new Map(
      Object.entries(declared).map(([name, header]) => [
        name.toLowerCase(),
        resolve<Header>(document, header),
      ]),
    );
    const missing = [...known].flatMap(([name, { required }]) =>
      required && headers[name] === undefined ? [`${status} has no ${name}`] : [],
    );
    const wrong = Object.entries(headers).flatMap(([name, value]) => {
      const header = known.get(name);
      if (header === undefined)
        return ordinary.test(name) ? [] : [`${status} has ${name}, which is not declared`];
      const { pattern, enum: words } = header.schema;
      const fits = pattern === undefined || new RegExp(pattern).test(value);
      return fits && (words === undefined || words.includes(value))
        ? []
        : [`${status} has a ${name} that is not as declared`];
    });
    return [...missing, ...wrong];
  }

  return (operation, sent, answer, secrets) => {
    const leaks = leaksIn(answer, sent, secrets);
    if (answer.status >= 500) return [...leaks, `${answer.status}: ${answer.text.slice(0, 200)}`];
    const declared = operation.responses.get(answer.status);
    if (declared === undefined)
      return [...leaks, `${answer.status} is not declared: ${answer.text.slice(0, 200)}`];
    const { pointer, response } = declared;
    return [
      ...leaks,
      ...bodyFaults(operation, sent, answer, pointer, response),
      ...headerFaults(answer, response),
    ];
  };
}

interface Header {
  required?: boolean;
  schema: Schema;
}

/** Of other tenants: what the request has not told itself. */
function leaksIn(answer: Answer, sent: Sent, secrets: readonly string[]): string[] {
  const [got, given] = [JSON.stringify(answer).toLowerCase(), JSON.stringify(sent).toLowerCase()];
  const found = secrets.filter(
    (secret) => got.includes(secret.toLowerCase()) && !given.includes(secret.toLowerCase()),
  );
  return found.map((secret) => `another tenant's ${secret} is in the answer`);
}

function validators(document: OpenApi, id: string) {
  const ajv = new Ajv2020({ strict: false, validateSchema: false, allErrors: false });
  formats.default(ajv);
  ajv.addSchema({ ...document, $id: id }, id);
  const compiled = new Map<string, ValidateFunction>();
  return (pointer: string, type: string): ValidateFunction => {
    const at = `${id}${pointer}/content/${type.replaceAll('/', '~1')}/schema`;
    const known = compiled.get(at) ?? ajv.compile({ $ref: encodeURI(at).replaceAll('%23', '#') });
    compiled.set(at, known);
    return known;
  };
}

/** Rows in lines are those of a page. */
function pageOf(text: string): unknown {
  const lines = text.split('\n').filter((line) => line !== '');
  return { data: lines.map((line): unknown => JSON.parse(line)), page: { next: null, limit: 1 } };
}

/** With `fields` rows have these only. */
function withoutRequired(document: OpenApi): OpenApi {
  const copy = structuredClone(document);
  for (const [name, schema] of Object.entries(copy.components.schemas)) {
    if (`${name}Page` in copy.components.schemas) delete schema.required;
  }
  return copy;
}

function asked({ target }: Sent): string[] | undefined {
  const [, query = ''] = target.split('?');
  return new URLSearchParams(query).get('fields')?.split(',');
}

function unasked(body: unknown, fields: readonly string[], { path }: Operation): string[] {
  const rows = path.includes('{id}') ? [body] : (body as { data: object[] }).data;
  const others = rows.flatMap((row) => Object.keys(row as object)).filter((key) => !fields.includes(key));
  return others.length === 0
    ? []
    : [`rows have ${[...new Set(others)].join()}, which fields did not ask for`];
}
