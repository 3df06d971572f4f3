import type { Router } from 'express';
import type { Lists } from '../../http/list.ts';
import { createResourceRoutes } from '../../http/resource-routes.ts';
import { user } from './schema.ts';
import type { UserService } from './service.ts';

export function userRoutes(service: UserService, lists: Lists): Router {
  return createResourceRoutes({ resource: user, service, lists });
}
