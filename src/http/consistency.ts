import type { Request, Response } from 'express';
import {
  type Actor,
  type Consistency,
  type Decision,
  furthest,
  type Level,
  nobody,
  type Origin,
  type Position,
  type Tenant,
  type TenantScope,
} from '../db/index.ts';
import { AppError } from '../errors.ts';
import type { ConsistencyTokens } from './consistency-token.ts';
import { type Freshness, requireActor, type RequestContext } from './context.ts';
import { originOf } from './origin.ts';
import type { Step } from './steps.ts';
import { invalid } from './validate.ts';

/**
 * Makes the scope that is passed down from here on, and tells the client which node answered and why.
 *
 * @param level how fresh the reads of these routes must be; `Read-Consistency` may ask for less, never for more
 */
export function consistency(level: Level, tokens: ConsistencyTokens): Step {
  return (req, res) => {
    const { tenant } = req.context;
    if (tenant === undefined) throw new AppError('tenant_required', 'The request names no tenant.');
    const token = req.get('consistency-token');
    const after = token === undefined ? undefined : tokens.read(tenant.id, token);
    const answerTokens = { tokens, onReads: token !== undefined };
    const scope = new RequestScope(tenant, requireActor(req), req.context, res, {
      level: wantedLevel(req, level),
      after,
      answerTokens,
    });
    req.context.scope = scope;
    req.context.freshness = scope;
  };
}

/** Who has not logged in yet. */
export const unproven: Actor = { kind: 'session', id: 'login' };

/**
 * As `consistency`, for a request that has no actor yet: a login, or a refresh of tokens. Only the primary is asked, for
 * an unknown tenant, too, so that the answer gives nothing away.
 */
export function sessionScope(
  context: RequestContext,
  tenant: Tenant | undefined,
  res: Response,
): TenantScope {
  return new RequestScope(tenant ?? nobody, unproven, context, res, { level: { kind: 'strong' } });
}

interface Wanted {
  level: Level;
  after?: Position | undefined;
  /**
   * After writes, and on demand after reads: who goes from process to process with a token does not see time go back,
   * either. Others need not pay for it.
   */
  answerTokens?: { tokens: ConsistencyTokens; onReads: boolean };
}

/**
 * The scope of a request and, in one object, what its reads must be and what came of them. A class: an object literal
 * with an accessor costs more than all other steps, and V8 keeps all that it refers to until the next major collection.
 */
class RequestScope implements TenantScope, Consistency, Freshness {
  readonly tenant: Tenant;
  readonly actor: Actor;
  readonly level: Level;
  after: Position | undefined;
  #seen: Position | undefined = undefined;
  readonly #context: RequestContext;
  readonly #res: Response;
  readonly #answerTokens: Wanted['answerTokens'];

  constructor(
    tenant: Tenant,
    actor: Actor,
    context: RequestContext,
    res: Response,
    { level, after, answerTokens }: Wanted,
  ) {
    this.tenant = tenant;
    this.actor = actor;
    this.level = level;
    this.after = after;
    this.#context = context;
    this.#res = res;
    this.#answerTokens = answerTokens;
  }

  get consistency(): Consistency {
    return this;
  }

  get requestId(): string {
    return this.#context.requestId;
  }

  get origin(): Origin {
    return originOf(this.#res.req);
  }

  get signal(): AbortSignal {
    return this.#context.signal;
  }

  served(decision: Decision): void {
    this.#context.decision = decision;
    if (!this.#res.headersSent) this.#res.setHeader('Served-By', servedBy(decision));
  }

  wrote(position: Position): void {
    if (this.#answerTokens === undefined || this.#res.headersSent) return;
    this.#res.setHeader('Consistency-Token', this.#answerTokens.tokens.sign(this.tenant.id, position));
  }

  require(seen: string): void {
    if (seen === '') return;
    const position = this.#answerTokens?.tokens.parse(seen);
    if (position !== undefined) this.after = furthest(this.after, position) ?? position;
  }

  seen(): string {
    if (this.#seen === undefined || this.#answerTokens === undefined) return '';
    return this.#answerTokens.tokens.write(this.#seen);
  }

  saw(position: Position): void {
    this.#seen = furthest(this.#seen, position) ?? position;
    if (this.#answerTokens?.onReads) this.wrote(furthest(this.after, position) ?? position);
  }

  spent(databaseMs: number): void {
    this.#context.databaseMs += databaseMs;
  }
}

/** From the strongest to the weakest. */
const strength = ['strong', 'session', 'bounded', 'any'] as const;
/** The longest bound a client may ask for, milliseconds; beyond it `any` says the same. */
const longestBoundMs = 3_600_000;

/** An item by RFC 8941: `strong`, `session`, `bounded; ms=500`, `any`. */
function wantedLevel(req: Request, declared: Level): Level {
  const header = req.get('read-consistency');
  if (header === undefined) return declared;
  const [, kind, bound] = /^(strong|session|any|bounded)(?: *; *ms=(\d{1,7}))?$/.exec(header.trim()) ?? [];
  const wanted = levelOf(kind, bound);
  if (wanted === undefined) {
    throw badLevel('strong, session, any or "bounded; ms=<0 to 3600000>" is needed.');
  }
  if (strength.indexOf(wanted.kind) < strength.indexOf(declared.kind)) {
    throw badLevel(`This route offers ${declared.kind} and what is weaker.`);
  }
  if (wanted.kind === 'bounded' && declared.kind === 'bounded' && wanted.maxLagMs < declared.maxLagMs) {
    throw badLevel(`This route offers a bound of ${declared.maxLagMs} ms or more.`);
  }
  return wanted;
}

function levelOf(kind: string | undefined, bound: string | undefined): Level | undefined {
  if (kind === 'bounded') {
    const maxLagMs = Number(bound ?? Number.NaN);
    return maxLagMs <= longestBoundMs ? { kind, maxLagMs } : undefined;
  }
  if (bound !== undefined) return undefined;
  return kind === 'strong' || kind === 'session' || kind === 'any' ? { kind } : undefined;
}

function badLevel(message: string): AppError {
  return invalid([{ pointer: 'Read-Consistency', code: 'invalid_level', message }]);
}

/** An item with parameters by RFC 8941, such as `replica-1; reason=fresh; lag=3`; lag in milliseconds. */
function servedBy({ node, reason, lagMs }: Decision): string {
  return `${node}; reason=${reason}${lagMs === undefined ? '' : `; lag=${lagMs}`}`;
}
