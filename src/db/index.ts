export { type AuditEvent, recordEvent } from './audit.ts';
export { createDatabase } from './database.ts';
export type { Database, DatabaseOptions, NodeFigures } from './contract.ts';
export { type ControlDatabase, createControlDatabase } from './control-database.ts';
export { type Consistency, createSightingStore, type Level, type SightingStore } from './consistency.ts';
export { createLentPool, type LentPool } from './lent-pool.ts';
export { createRedisConnection, createRedisMemory, type RedisConnection } from './redis.ts';
export { createRowLimit, noRowLimit, type RowLimit } from './row-limit.ts';
export { requireWithinLimit } from './capacity.ts';
export { createSharedSightings, within } from './shared-sightings.ts';
export { findResult, type Once, type SealedResult } from './once.ts';
export { formatLsn, furthest, parseLsn, type Position } from './position.ts';
export type { DatabaseObserver, RetryCause, StatementFacts, UnitKind } from './observer.ts';
export { type Decision, type NodeState, type NodeView, reasons, route } from './router.ts';
export {
  type Actor,
  type Author,
  type Isolation,
  isUuid,
  nobody,
  type Origin,
  type SchemaName,
  schemaName,
  schemaOf,
  slugPattern,
  type Tenant,
  type TenantId,
  type TenantScope,
  tenantContext,
  tenantId,
  type TenantLimits,
} from './scope.ts';
export { isOutOfStep, translateError } from './pg-errors.ts';
export { runWhole } from './message.ts';
export { type ReadSession, sessionOn, type WriteSession } from './session.ts';
export {
  createSnapshots,
  maxSnapshots,
  type Snapshot,
  type SnapshotOptions,
  type Snapshots,
} from './snapshot.ts';
export {
  type ColumnShape,
  copyRows,
  type RowLoader,
  rowLoader,
  rowPrefix,
  type TableShape,
  tenantTables,
} from './tenant-rows.ts';
export { nextNumber } from './numbers.ts';
export { countIn, type CountOptions, createRecords, type Records } from './records.ts';
export {
  type Batch,
  type BatchOutcome,
  type BulkRecords,
  createBulkRecords,
  type RowFault,
  type Selected,
} from './bulk-records.ts';
export { defineTable } from './table.ts';
export {
  type ColumnType,
  type Condition,
  type Deletion,
  type Direction,
  type Operator,
  type Own,
  operators,
  type Page,
  type PageRequest,
  type RowPosition,
  type Selection,
  type Stamped,
  type Table,
  type Versions,
} from './table-contract.ts';
