import type { Router } from 'express';
import type { Lists } from '../../http/list.ts';
import { resourceRoutes } from '../../http/resource-routes.ts';
import { createUserSchema, patchUserSchema, userList } from './schema.ts';
import type { UserService } from './service.ts';

export function userRoutes(service: UserService, lists: Lists): Router {
  return resourceRoutes({
    service,
    lists,
    createSchema: createUserSchema,
    patchSchema: patchUserSchema,
    listRules: userList,
    resource: 'users',
    writeAction: 'manage-users',
  });
}
