import { type Database, isOutOfStep, type TenantScope } from '../db/index.ts';
import { AppError, tenantMigrating } from '../errors.ts';
import type { Directory } from './directory.ts';

/**
 * The last guard of a migration. The directory refuses tenants that this build cannot serve, but what it had let in goes
 * on, and a schema may be changed without an announcement: then a statement does not fit the tables. The unit of work has been
 * rolled back; when the tenant is being migrated it is answered with 503 `tenant_migrating`. Else it is a fault of ours, and
 * stays one.
 */
export function guardSchemas(db: Database, directory: Pick<Directory, 'isMigrating'>): Database {
  async function explain({ tenant }: TenantScope, error: unknown): Promise<never> {
    if (!isOutOfStep(error) || !(await directory.isMigrating(tenant))) throw error;
    throw tenantMigrating(error instanceof AppError ? error.cause : error);
  }
  return {
    ...db,
    read: (scope, fn) => db.read(scope, fn).catch((error: unknown) => explain(scope, error)),
    write: (scope, fn) => db.write(scope, fn).catch((error: unknown) => explain(scope, error)),
    writeOne: (scope, fn) => db.writeOne(scope, fn).catch((error: unknown) => explain(scope, error)),
    writeBulk: (scope, fn, options) =>
      db.writeBulk(scope, fn, options).catch((error: unknown) => explain(scope, error)),
  };
}
