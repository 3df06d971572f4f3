import type { Database } from './contract.ts';
import type { RowLimit } from './row-limit.ts';
import type { TenantScope } from './scope.ts';
import type {
  Changes,
  Deletion,
  FindOptions,
  Own,
  Page,
  PageRequest,
  Selection,
  Stamped,
  Table,
  Versions,
} from './table-contract.ts';

/** Units of work on one table, each a single one of `db`: for a resource without rules of its own. */
export interface Records<Row extends Stamped> {
  list(scope: TenantScope, request: PageRequest<Row>): Promise<Page<Row>>;
  count(scope: TenantScope, where?: Partial<Row>, more?: CountOptions<Row>): Promise<number>;
  /** @throws AppError not_found */
  get(scope: TenantScope, id: string, options?: Pick<FindOptions, 'deleted'>): Promise<Row>;
  /** @throws AppError limit_reached */
  create(scope: TenantScope, input: Own<Row>): Promise<Row>;
  /** All or nothing. @throws AppError limit_reached */
  createMany(scope: TenantScope, input: readonly Own<Row>[]): Promise<Row[]>;
  /** @throws AppError not_found, precondition_failed for a row of another version */
  patch(scope: TenantScope, id: string, changes: Changes<Row>, versions?: Versions): Promise<Row>;
  /** @throws AppError not_found, precondition_failed */
  remove(scope: TenantScope, id: string, versions?: Versions): Promise<Deletion>;
  /** @throws AppError not_found, or what the table's constraints say when its place is taken */
  restore(scope: TenantScope, id: string): Promise<Row>;
}

export type CountOptions<Row> = Omit<Selection<Row>, 'where'> & { estimated?: boolean };

export function createRecords<Row extends Stamped>(
  db: Database,
  table: Table<Row>,
  rowLimit: RowLimit,
): Records<Row> {
  // A statement that is preceded by another, which tells the version, is not a write of one statement.
  const unit = (versions: Versions | undefined) => (versions === undefined ? db.writeOne : db.write);
  return {
    list: (scope, request) => db.read(scope, (session) => table.page(session, request)),
    count: (scope, where, more) => db.read(scope, (session) => countIn(session, table, where, more)),
    get: (scope, id, options) => db.read(scope, (session) => table.require(session, id, options)),
    async create(scope, input) {
      await rowLimit.require(scope, 1);
      return db.writeOne(scope, (session) => table.insert(session, input));
    },
    async createMany(scope, input) {
      await rowLimit.require(scope, input.length);
      return db.write(scope, (session) => table.insertMany(session, input));
    },
    patch: (scope, id, changes, versions) =>
      unit(versions)(scope, (session) => table.update(session, id, changes, versions)),
    remove: (scope, id, versions) =>
      unit(versions)(scope, (session) => table.softDelete(session, id, versions)),
    restore: (scope, id) => db.write(scope, async (session) => (await table.restore(session, id)).row),
  };
}

/** As it was asked for: exactly by default. */
export function countIn<Row extends Stamped>(
  session: Parameters<Table<Row>['count']>[0],
  table: Pick<Table<Row>, 'count' | 'estimate'>,
  where: Partial<Row> | undefined,
  { estimated = false, ...more }: CountOptions<Row> = {},
): Promise<number> {
  return estimated ? table.estimate(session, { where, ...more }) : table.count(session, where, more);
}
