import type { Router } from 'express';
import { type Conventions, createResourceRoutes } from '../../http/resource-routes.ts';
import { apiKey } from './schema.ts';
import type { ApiKeyService } from './service.ts';

/** The usual routes but for restore: what has been revoked stays so. */
export function apiKeyRoutes(service: ApiKeyService, conventions: Conventions): Router {
  return createResourceRoutes({ resource: apiKey, service, conventions });
}
