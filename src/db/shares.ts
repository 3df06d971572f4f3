import { accountOf, type AdmissionFigures, createAdmission, noAdmission } from './admission.ts';
import type { DatabaseOptions } from './contract.ts';
import { limits } from './limits.ts';
import { translateError } from './pg-errors.ts';
import type { Lease, NodePool, PoolFigures } from './pool.ts';
import type { TenantScope } from './scope.ts';

/** The serving pools of all nodes, with a fair admission before each. */
export interface Shares {
  /**
   * Lets in one unit of work, which may use one connection of the pool at a time.
   *
   * @param id of the node
   * @param who for whom: a scope, or an account of admission.ts
   * @param how `shares`: it is made of round trips, which need not hold a connection. `lasts`: for how long it holds its
   *   connection is up to others, and says nothing about the next one
   * @throws AppError unavailable, among all that the pool and `fn` throw
   */
  within<T>(
    id: number,
    who: TenantScope | string,
    fn: (pool: NodePool) => Promise<T>,
    how?: { shares?: boolean; lasts?: boolean | undefined },
  ): Promise<T>;
  /** The same for a unit of work that holds a connection all the time. */
  withLease<T>(id: number, who: TenantScope | string, fn: (lease: Lease) => Promise<T>): Promise<T>;
  /** Units of work under way and waiting on the node. */
  load(id: number): number;
  figures(id: number): { pool: PoolFigures; admission: AdmissionFigures };
}

export function createShares(
  pools: readonly NodePool[],
  { admission = 'fair', poolMax: max, longUnitsMax, clock }: DatabaseOptions,
): Shares {
  const patienceMs = limits.serving.acquireMs;
  const nodes = pools.map((pool) => ({
    pool,
    admission:
      admission === 'off' ? noAdmission : createAdmission({ max, maxLong: longUnitsMax, clock, patienceMs }),
  }));

  function nodeOf(id: number): (typeof nodes)[number] {
    const node = nodes[id];
    if (node === undefined) throw new Error(`There is no server ${id}`);
    return node;
  }

  const within: Shares['within'] = async (id, who, fn, { shares = false, lasts = false } = {}) => {
    const { admission: fair, pool } = nodeOf(id);
    const account = typeof who === 'string' ? who : accountOf(who);
    const place = fair.enter(account, shares) ?? (await fair.wait(account, shares));
    const startedMs = clock.monotonicMs();
    try {
      return await fn(pool);
    } catch (error) {
      throw translateError(error);
    } finally {
      fair.leave(place, lasts ? undefined : clock.monotonicMs() - startedMs);
    }
  };

  return {
    within,
    withLease: (id, who, fn) => within(id, who, (pool) => pool.withLease(fn)),
    load(id) {
      const node = nodeOf(id);
      return node.pool.load() + node.admission.figures().waiting;
    },
    figures(id) {
      const node = nodeOf(id);
      const pool = node.pool.figures();
      const figures = node.admission.figures();
      return { pool: { ...pool, waiting: pool.waiting + figures.waiting }, admission: figures };
    },
  };
}
