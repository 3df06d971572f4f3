import type { Router } from 'express';
import { type Conventions, createResourceRoutes } from '../../http/resource-routes.ts';
import { user } from './schema.ts';
import type { UserService } from './service.ts';

export function userRoutes(service: UserService, conventions: Conventions): Router {
  return createResourceRoutes({ resource: user, service, conventions });
}
