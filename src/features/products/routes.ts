import type { Router } from 'express';
import type { Lists } from '../../http/list.ts';
import { createResourceRoutes } from '../../http/resource-routes.ts';
import { product } from './schema.ts';
import type { ProductService } from './service.ts';

export function productRoutes(service: ProductService, lists: Lists): Router {
  return createResourceRoutes({ resource: product, service, lists });
}
