import type { z } from 'zod';
import {
  createDocument,
  type ZodOpenApiObject,
  type ZodOpenApiOperationObject,
  type ZodOpenApiResponseObject,
} from 'zod-openapi';
import { type ErrorCode, errorTable } from '../../errors.ts';
import { type AnswerHeader, answerHeaders, type RequestHeader, requestHeaders } from './headers.ts';
import type { Answer, Credentials, DescribedMount, Operation } from './operation.ts';
import { byStatus, problemCodes, problemHeaders, problemSchema, wordsOf } from './problems.ts';

/** An OpenAPI 3.1 document, from the descriptions of what is mounted. */

export interface DocumentOptions {
  info: ZodOpenApiObject['info'];
  tags: readonly { name: string; description: string }[];
  mounts: readonly DescribedMount[];
}

export type OpenApiDocument = ReturnType<typeof createDocument>;

export function openApiDocument({ info, tags, mounts }: DocumentOptions): OpenApiDocument {
  const routes = mounts.flatMap(({ path, operations }) =>
    Object.entries(operations()).map(([route, operation]) => routeOf(path, route, operation)),
  );
  const paths: NonNullable<ZodOpenApiObject['paths']> = {};
  for (const { path, method, operation } of routes) {
    paths[path] = { ...paths[path], [method]: operationObject(path, operation) };
  }
  const codes = (Object.keys(errorTable) as ErrorCode[]).filter((code) =>
    routes.some(({ operation }) => problemCodes(operation).has(code)),
  );
  return createDocument(
    {
      openapi: '3.1.1',
      info,
      servers: [{ url: '/', description: 'This service' }],
      tags: [...tags],
      security: [{ accessToken: [] }, { apiKey: [] }],
      paths,
      components: {
        schemas: { Problem: problemSchema(codes) },
        parameters: components(requestHeaders, (name) => ({ in: 'header', name, ...requestHeaders[name] })),
        responses: commonProblems(routes.map(({ operation }) => operation.credentials ?? 'tenant')),
        headers: components(answerHeaders, (name) => answerHeaders[name]),
        securitySchemes: {
          accessToken: {
            type: 'http',
            scheme: 'bearer',
            bearerFormat: 'JWT',
            description: 'From `POST /v1/auth/login` or `/v1/auth/refresh`.',
          },
          apiKey: {
            type: 'http',
            scheme: 'bearer',
            bearerFormat: 'tnt_<tenant>_<key>_<secret>',
            description: 'From `POST /v1/api-keys`. It may do what its scopes say.',
          },
        },
      },
    },
    {
      // A format says the same in a word.
      override: ({ jsonSchema }) => {
        if (jsonSchema.format === 'date-time' || jsonSchema.format === 'uuid') delete jsonSchema.pattern;
      },
    },
  );
}

type Method = 'get' | 'post' | 'patch' | 'delete';

function routeOf(mount: string, route: string, operation: Operation) {
  const [method = '', below = ''] = route.split(' ');
  const path = `${mount}${below === '/' ? '' : below}`.replaceAll(/:(\w+)/g, '{$1}');
  return { path, method: method.toLowerCase() as Method, operation };
}

function operationObject(path: string, operation: Operation): ZodOpenApiOperationObject {
  const {
    id,
    tag,
    summary,
    description,
    credentials = 'tenant',
    parameters = [],
    headers = [],
    body,
  } = operation;
  const sent: readonly RequestHeader[] =
    credentials === 'tenant'
      ? [...headers, 'X-Tenant-ID', 'Consistency-Token', 'Read-Consistency', 'X-Request-Id']
      : [...headers, 'X-Request-Id'];
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    ...(credentials === 'tenant' ? {} : { security: [] }),
    parameters: [
      ...pathParameters(path),
      ...parameters,
      ...sent
        .filter((name) => !parameters.some((own) => own.name === name))
        .map((name) => ({ $ref: `#/components/parameters/${name}` })),
    ],
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: contentOf(body.schema, body.example, body.types) } }),
    responses: responsesOf(operation),
  };
}

function pathParameters(path: string): NonNullable<ZodOpenApiOperationObject['parameters']> {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    in: 'path',
    name,
    required: true,
    description: 'Of the resource.',
    schema: { type: 'string', format: 'uuid' },
  }));
}

const always: readonly AnswerHeader[] = ['X-Request-Id', 'Server-Timing'];
const alwaysBy: Readonly<Record<Credentials, readonly AnswerHeader[]>> = {
  tenant: [...always, 'RateLimit-Policy', 'RateLimit', 'Served-By'],
  body: [...always, 'Served-By'],
  none: always,
};

function responsesOf(operation: Operation): ZodOpenApiOperationObject['responses'] {
  const responses: ZodOpenApiOperationObject['responses'] = {};
  const set = (status: number, response: ZodOpenApiResponseObject | { $ref: string }) => {
    responses[String(status) as '200'] = response;
  };
  const { credentials = 'tenant', answers } = operation;
  for (const [status, codes] of byStatus(problemCodes(operation))) {
    set(
      status,
      isCommon(codes, credentials)
        ? { $ref: `#/components/responses/${status}-${credentials}` }
        : problemObject(status, codes, alwaysBy[credentials]),
    );
  }
  // What has been refused has written nothing that could be waited for.
  const position: readonly AnswerHeader[] = credentials === 'tenant' ? ['Consistency-Token'] : [];
  for (const answer of answers) {
    set(answer.status, answerObject(answer, [...alwaysBy[credentials], ...position]));
  }
  return responses;
}

function answerObject(
  { description, schema, type, alsoType, example, headers = [] }: Answer,
  always: readonly AnswerHeader[],
): ZodOpenApiResponseObject {
  return {
    description,
    headers: headersOf([...headers, ...always]),
    ...(schema === undefined
      ? {}
      : {
          content: {
            ...contentOf(schema, example, type === undefined ? undefined : [type]),
            ...(alsoType === undefined ? {} : { [alsoType]: { schema: { type: 'string' as const } } }),
          },
        }),
  };
}

/** Those that say no more than any route with such credentials could. */
function commonProblems(used: readonly Credentials[]): Record<string, ZodOpenApiResponseObject> {
  return Object.fromEntries(
    [...new Set(used)].flatMap((credentials) =>
      [...byStatus(problemCodes({ credentials }))].map(([status, codes]) => [
        `${status}-${credentials}`,
        problemObject(status, codes, alwaysBy[credentials]),
      ]),
    ),
  );
}

function isCommon(codes: readonly ErrorCode[], credentials: Credentials): boolean {
  const common = problemCodes({ credentials });
  return codes.every((code) => common.has(code));
}

function problemObject(
  status: number,
  codes: readonly ErrorCode[],
  always: readonly AnswerHeader[],
): ZodOpenApiResponseObject {
  const schema = {
    allOf: [
      { $ref: '#/components/schemas/Problem' },
      {
        type: 'object' as const,
        properties: { status: { const: status }, code: { enum: [...codes] } },
        required: ['status', 'code'],
      },
    ],
  };
  return {
    description: wordsOf(codes),
    headers: headersOf([...problemHeaders(status), ...always]),
    content: { 'application/problem+json': { schema } },
  };
}

function headersOf(names: readonly AnswerHeader[]): Record<string, { $ref: string }> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

function contentOf(schema: z.ZodType, example: unknown, types: readonly string[] = ['application/json']) {
  const media = { schema, ...(example === undefined ? {} : { example }) };
  return Object.fromEntries(types.map((type) => [type, media]));
}

function components<Name extends string, Component>(
  table: Readonly<Record<Name, unknown>>,
  make: (name: Name) => Component,
): Record<string, Component> {
  return Object.fromEntries((Object.keys(table) as Name[]).map((name) => [name, make(name)]));
}
