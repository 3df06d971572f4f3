export {
  type ControlDatabase,
  createControlDatabase,
  createDatabase,
  type Database,
  type NodeFigures,
} from './database.ts';
export type { Consistency } from './consistency.ts';
export type { Decision, NodeView } from './router.ts';
export {
  type Actor,
  type Isolation,
  isUuid,
  nobody,
  type SchemaName,
  schemaName,
  schemaOf,
  slugPattern,
  type Tenant,
  type TenantId,
  type TenantScope,
  tenantContext,
  tenantId,
} from './scope.ts';
export { translateError } from './pg-errors.ts';
export { type ReadSession, sessionOn, type WriteSession } from './session.ts';
export { defineTable, nextNumber, type Page, type PageRequest, type Stamped, type Table } from './table.ts';
