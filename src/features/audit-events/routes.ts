import type { Router } from 'express';
import { type Conventions, createResourceRoutes } from '../../http/resource-routes.ts';
import { auditEvent } from './schema.ts';
import type { AuditEventService } from './service.ts';

export function auditEventRoutes(service: AuditEventService, conventions: Conventions): Router {
  return createResourceRoutes({ resource: auditEvent, service, conventions });
}
