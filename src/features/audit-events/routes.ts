import type { Router } from 'express';
import type { Lists } from '../../http/list.ts';
import { createResourceRoutes } from '../../http/resource-routes.ts';
import { auditEvent } from './schema.ts';
import type { AuditEventService } from './service.ts';

export function auditEventRoutes(service: AuditEventService, lists: Lists): Router {
  return createResourceRoutes({ resource: auditEvent, service, lists });
}
