export { createDatabase } from './database.ts';
export type { Database, DatabaseOptions, NodeFigures } from './contract.ts';
export { type ControlDatabase, createControlDatabase } from './control-database.ts';
export { type Consistency, createSightingStore, type Level, type SightingStore } from './consistency.ts';
export { createRedisMemory } from './redis.ts';
export { createSharedSightings } from './shared-sightings.ts';
export { formatLsn, furthest, parseLsn, type Position } from './position.ts';
export type { DatabaseObserver, RetryCause, StatementFacts, UnitKind } from './observer.ts';
export { type Decision, type NodeState, type NodeView, reasons, route } from './router.ts';
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
