import type { Request, Response } from 'express';
import { isApiKey, type ParsedApiKey, parseApiKey } from '../auth/api-keys.ts';
import { notValid, type TenantClaims, type Tokens } from '../auth/tokens.ts';
import { type Actor, nobody, type Tenant } from '../db/index.ts';
import { AppError } from '../errors.ts';
import { type FindTenant, requireServable } from './resolve-tenant.ts';
import type { Step } from './steps.ts';

export interface TenantCredentials {
  tokens: Tokens;
  findTenant: FindTenant;
  /** Whose key it is; undefined when it is not known, wrong, revoked or expired, or its user is gone. */
  findKey: (tenant: Tenant, key: ParsedApiKey) => Promise<Actor | undefined>;
  /**
   * Whether the token of a user has been ended before its time; a promise only when that must be asked. Which it must
   * at most once in a few seconds, for all users together.
   */
  isRevoked: (claims: {
    tenantId: string;
    userId: string;
    credentialsVersion: number;
  }) => boolean | Promise<boolean>;
}

/**
 * Makes the credential of a tenant request, an access token or an API key, into the request's actor and the id of its
 * tenant. Whatever is wrong with one, the answer is the same. Waits only for what must be asked: not for a token.
 */
export function authenticateTenant(parts: TenantCredentials): Step {
  const { tokens, isRevoked } = parts;
  return (req, res) => {
    const credential = bearerToken(req);
    if (isApiKey(credential)) return takeKey(parts, credential, req, res);
    const claims = tokens.verifyTenant(credential);
    req.context.actor = actorOf(claims);
    res.locals['tenantId'] = claims.tenantId;
    const revoked = claims.kind === 'user' && isRevoked(claims);
    return revoked === false ? undefined : refuse(revoked);
  };
}

function actorOf(claims: TenantClaims): Actor {
  const id = claims.kind === 'user' ? claims.userId : claims.operatorId;
  return { kind: claims.kind, id, role: claims.role };
}

/** @throws AppError unauthenticated when it is so */
async function refuse(revoked: true | Promise<boolean>): Promise<void> {
  if (await revoked) throw notValid();
}

async function takeKey(
  { findTenant, findKey }: TenantCredentials,
  credential: string,
  req: Request,
  res: Response,
): Promise<void> {
  const key = parseApiKey(credential);
  if (key === undefined) throw notValid();
  const entry = await findTenant(key.tenantId);
  requireServable(entry); // the key is in its schema
  // For a tenant that is not there the same is done, so that the time does not tell.
  const { tenant } = entry ?? { tenant: nobody };
  const actor = await findKey(tenant, key);
  if (actor === undefined) throw notValid();
  req.context.actor = actor;
  res.locals['tenantId'] = tenant.id;
}

/** Makes the access token of an operator into the request's actor. */
export function authenticateOperator(tokens: Tokens): Step {
  return (req) => {
    const { operatorId } = tokens.verifyOperator(bearerToken(req));
    req.context.actor = { kind: 'platform', id: operatorId };
  };
}

/** RFC 6750. */
function bearerToken(req: Request): string {
  const token = /^Bearer ([\w.~+/=-]+)$/i.exec(req.get('authorization') ?? '')?.[1];
  if (token === undefined) {
    throw new AppError(
      'unauthenticated',
      'A header Authorization: Bearer <access token or API key> is needed.',
    );
  }
  return token;
}
