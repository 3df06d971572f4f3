import type { Router } from 'express';
import type { Lists } from '../../http/list.ts';
import { resourceRoutes } from '../../http/resource-routes.ts';
import { createProductSchema, patchProductSchema, productList } from './schema.ts';
import type { ProductService } from './service.ts';

export function productRoutes(service: ProductService, lists: Lists): Router {
  return resourceRoutes({
    service,
    lists,
    createSchema: createProductSchema,
    patchSchema: patchProductSchema,
    listRules: productList,
    resource: 'products',
    writeAction: 'write',
  });
}
