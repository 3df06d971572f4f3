/** What the fuzzer reads of an OpenAPI document. */

export interface Schema {
  $ref?: string;
  type?: string;
  format?: string;
  pattern?: string;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
}

export interface Parameter {
  in: 'path' | 'query' | 'header';
  name: string;
  required?: boolean;
  schema: Schema;
}

export interface Response {
  headers?: Record<string, { $ref: string }>;
  content?: Record<string, { schema: Schema }>;
}

export interface OperationObject {
  operationId: string;
  security?: object[];
  parameters?: (Parameter | { $ref: string })[];
  requestBody?: { content: Record<string, { schema: Schema }> };
  responses: Record<string, Response | { $ref: string }>;
}

export interface OpenApi {
  paths: Record<string, Record<string, OperationObject>>;
  components: { schemas: Record<string, Schema> };
}

/** One of them, with what it refers to in its place but for schemas. */
export interface Operation {
  id: string;
  method: string;
  path: string;
  open: boolean;
  parameters: Parameter[];
  bodies: { type: string; schema: Schema }[];
  /** By status. `pointer` is where it stands in the document. */
  responses: Map<number, { pointer: string; response: Response }>;
}

export function operationsOf(document: OpenApi): Operation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({
      id: operation.operationId,
      method: method.toUpperCase(),
      path,
      open: operation.security?.length === 0,
      parameters: (operation.parameters ?? []).map((each) => resolve(document, each)),
      bodies: Object.entries(operation.requestBody?.content ?? {}).map(([type, { schema }]) => ({
        type,
        schema,
      })),
      responses: new Map(
        Object.entries(operation.responses).map(([status, each]) => {
          const own = `#/paths/${escape(path)}/${method}/responses/${status}`;
          return [
            Number(status),
            { pointer: '$ref' in each ? each.$ref : own, response: resolve(document, each) },
          ];
        }),
      ),
    })),
  );
}

export function resolve<Value extends object>(document: OpenApi, value: Value | { $ref: string }): Value {
  if (!('$ref' in value) || typeof value.$ref !== 'string') return value as Value;
  const steps = value.$ref
    .slice(2)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  let found: unknown = document;
  for (const step of steps) found = (found as Record<string, unknown>)[step];
  return found as Value;
}

export function escape(step: string): string {
  return step.replaceAll('~', '~0').replaceAll('/', '~1');
}
