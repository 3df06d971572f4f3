import type { Request, RequestHandler, Response } from 'express';
import {
  type Actor,
  type Decision,
  furthest,
  type Level,
  nobody,
  type Position,
  type Tenant,
  type TenantScope,
} from '../db/index.ts';
import { AppError } from '../errors.ts';
import type { ConsistencyTokens } from './consistency-token.ts';
import { requireActor, type RequestContext } from './context.ts';
import { invalid } from './validate.ts';

/**
 * Makes the scope that is passed down from here on, and tells the client which node answered and why.
 *
 * @param level how fresh the reads of these routes must be; `Read-Consistency` may ask for less, never for more
 */
export function consistency(level: Level, tokens: ConsistencyTokens): RequestHandler {
  return (req, res, next) => {
    const { tenant } = req.context;
    if (tenant === undefined) throw new AppError('tenant_required', 'The request names no tenant.');
    const token = req.get('consistency-token');
    const after = token === undefined ? undefined : tokens.read(tenant.id, token);
    const answerToken = (position: Position) => {
      if (!res.headersSent) res.setHeader('Consistency-Token', tokens.sign(tenant.id, position));
    };
    req.context.scope = scopeOf(tenant, requireActor(req), req.context, res, {
      level: wantedLevel(req, level),
      after,
      wrote: answerToken,
      // Who goes from process to process with a token does not see time go back, either. Others need not pay for it.
      ...(token === undefined
        ? {}
        : { saw: (position: Position) => answerToken(furthest(after, position) ?? position) }),
    });
    next();
  };
}

/**
 * As `consistency`, for a request that has no actor yet: a login, or a refresh of tokens. Only the primary is asked, for
 * an unknown tenant, too, so that the answer gives nothing away.
 */
export function sessionScope(
  context: RequestContext,
  tenant: Tenant | undefined,
  res: Response,
): TenantScope {
  const actor: Actor = { kind: 'session', id: 'login' };
  return scopeOf(tenant ?? nobody, actor, context, res, { level: { kind: 'strong' } });
}

interface Wanted {
  level: Level;
  after?: Position | undefined;
  wrote?: (position: Position) => void;
  saw?: (position: Position) => void;
}

function scopeOf(
  tenant: Tenant,
  actor: Actor,
  context: RequestContext,
  res: Response,
  wanted: Wanted,
): TenantScope {
  return {
    tenant,
    actor,
    requestId: context.requestId,
    get signal() {
      return context.ended.signal;
    },
    consistency: {
      ...wanted,
      served(decision) {
        context.decision = decision;
        if (!res.headersSent) res.setHeader('Served-By', servedBy(decision));
      },
      spent(databaseMs) {
        context.databaseMs += databaseMs;
      },
    },
  };
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
