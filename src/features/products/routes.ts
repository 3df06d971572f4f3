import type { Router } from 'express';
import { type Conventions, createResourceRoutes } from '../../http/resource-routes.ts';
import { product } from './schema.ts';
import type { ProductService } from './service.ts';

export function productRoutes(service: ProductService, conventions: Conventions): Router {
  return createResourceRoutes({ resource: product, service, conventions });
}
