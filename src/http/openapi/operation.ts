import type { z } from 'zod';
import type { oas31 } from 'zod-openapi';
import type { ErrorCode } from '../../errors.ts';
import type { AnswerHeader, RequestHeader } from './headers.ts';

/**
 * What a route takes and answers, in words that become an operation of the OpenAPI document. What all routes have in
 * common (problems, headers, credentials) is not said here: it is added where the document is made.
 */
export interface Operation {
  /** `operationId`: the name of a function in a client that is generated. */
  id: string;
  tag: string;
  summary: string;
  description?: string;
  /**
   * `tenant`: an access token or an API key, as all routes of resources want it. `body`: a password or a refresh token of a
   * tenant, in the body. `none`: open, and of no tenant. Default `tenant`.
   */
  credentials?: Credentials;
  /** Of the query, and headers that are more than usual. */
  parameters?: readonly Parameter[];
  headers?: readonly RequestHeader[];
  body?: Body;
  answers: readonly Answer[];
  /** What it can be refused with beyond what any route can. */
  problems?: readonly ErrorCode[];
}

export type Credentials = 'tenant' | 'body' | 'none';

/** By method and path below where the router is mounted, such as `POST /:id/cancel`. */
export type Operations = Readonly<Record<`${'GET' | 'POST' | 'PATCH' | 'DELETE'} /${string}`, Operation>>;

/** A router's place, and what its routes are. A function, because a document is made only when somebody asks for it. */
export interface DescribedMount {
  path: string;
  operations: () => Operations;
}

export type Parameter = oas31.ParameterObject;

export interface Body {
  schema: z.ZodType;
  /** Default `application/json` alone. */
  types?: readonly string[];
  example: unknown;
}

export interface Answer {
  status: number;
  description: string;
  /** Undefined: there is no body. */
  schema?: z.ZodType;
  /** Default `application/json`. */
  type?: string;
  /** As which it can be had, too: of something that is no JSON, text. */
  alsoType?: string;
  example?: unknown;
  headers?: readonly AnswerHeader[];
}
