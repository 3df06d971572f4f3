/**
 * Every way a request can fail, in one closed table. Code is thrown as `AppError`; status and title are looked up
 * when the answer is written (http/problem.ts).
 */
export const errorTable = {
  invalid_input: { status: 400, title: 'The request is not valid' },
  malformed_json: { status: 400, title: 'The body is not valid JSON' },
  malformed_request: { status: 400, title: 'The request is not well-formed HTTP' },
  tenant_required: { status: 400, title: 'The request names no tenant' },
  unauthenticated: { status: 401, title: 'A valid access token is needed' },
  invalid_credentials: { status: 401, title: 'The credentials are not right' },
  forbidden: { status: 403, title: 'This is not allowed' },
  tenant_mismatch: { status: 403, title: 'The credential belongs to another tenant' },
  tenant_suspended: { status: 403, title: 'The tenant is suspended' },
  not_found: { status: 404, title: 'There is no such resource' },
  method_not_allowed: { status: 405, title: 'The resource does not have this method' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  conflict: { status: 409, title: 'The change conflicts with the present state' },
  slug_taken: { status: 409, title: 'A tenant has this slug already' },
  sku_taken: { status: 409, title: 'A product has this SKU already' },
  email_taken: { status: 409, title: 'A user has this e-mail address already' },
  insufficient_stock: { status: 409, title: 'There is too little stock' },
  illegal_state: { status: 409, title: 'The tenant is in another state' },
  legal_hold: { status: 409, title: 'The tenant is under a legal hold' },
  retention: { status: 409, title: 'The tenant is still being retained' },
  job_under_way: { status: 409, title: 'Such a job is under way already' },
  job_ended: { status: 409, title: 'The job has ended' },
  run_under_way: { status: 409, title: 'A run of the fleet is under way' },
  run_ended: { status: 409, title: 'The run has ended' },
  migration_refused: { status: 422, title: 'The migrations are refused' },
  request_under_way: { status: 409, title: 'The first request with this key is still under way' },
  order_cancelled: { status: 409, title: 'The order is cancelled' },
  limit_reached: { status: 409, title: 'The tenant has as many as it may have' },
  last_owner: { status: 409, title: 'A tenant keeps at least one owner' },
  precondition_failed: { status: 412, title: 'The resource has changed' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  uri_too_long: { status: 414, title: 'The address is too long' },
  unsupported_media_type: { status: 415, title: 'The media type is not supported' },
  expectation_failed: { status: 417, title: 'The expectation cannot be met' },
  export_refused: { status: 422, title: 'The export cannot be imported' },
  idempotency_key_reused: { status: 422, title: 'The key belongs to another request' },
  too_many_matched: { status: 422, title: 'The filters leave too many' },
  unprocessable: { status: 422, title: 'The values cannot be stored together' },
  rate_limited: { status: 429, title: 'There were too many requests' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  /** Nobody reads this answer; it is for the log, where 499 is the custom. */
  client_closed_request: { status: 499, title: 'The client has closed the request' },
  internal: { status: 500, title: 'Something went wrong on our side' },
  unavailable: { status: 503, title: 'The service cannot answer at the moment' },
  tenant_migrating: { status: 503, title: 'The tenant is being migrated' },
  tenant_moving: { status: 503, title: 'The tenant is being moved' },
  timeout: { status: 504, title: 'The database took too long' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ErrorCode = keyof typeof errorTable;

/** One thing wrong with one place of the input. `pointer` is a JSON pointer (RFC 6901) or a parameter's name. */
export interface FieldError {
  pointer: string;
  code: string;
  message: string;
}

export interface AppErrorOptions {
  cause?: unknown;
  errors?: readonly FieldError[];
  /** Seconds after which a repeat makes sense; sent as `Retry-After`. */
  retryAfterS?: number;
}

/** The only error that is thrown on purpose. `detail` is shown to clients: no SQL, no names of constraints, no ids. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly errors: readonly FieldError[];
  readonly retryAfterS: number | undefined;

  constructor(code: ErrorCode, detail: string, options: AppErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.errors = options.errors ?? [];
    this.retryAfterS = options.retryAfterS;
  }
}

/**
 * The same words for an unknown, a deleted and a foreign id, so that an answer tells nothing about other tenants.
 *
 * @param detail for operators, who may know more
 */
export function notFound(detail = 'Nothing was found under this address.'): AppError {
  return new AppError('not_found', detail);
}

/** With the same `Idempotency-Key`. */
export function requestUnderWay(): AppError {
  const detail = 'The first request with this Idempotency-Key has not ended yet.';
  return new AppError('request_under_way', detail, { retryAfterS: 1 });
}

export function keyReused(detail: string): AppError {
  return new AppError('idempotency_key_reused', detail);
}

/** @param cause for the log: why it cannot be served as it is */
export function tenantMigrating(cause: unknown): AppError {
  return new AppError('tenant_migrating', 'The tenant is being migrated.', { cause, retryAfterS: 1 });
}

export function unavailable(detail: string, cause?: unknown): AppError {
  return new AppError('unavailable', detail, { cause, retryAfterS: 1 });
}
