import { unavailable } from '../errors.ts';
import type { BulkOptions } from './contract.ts';
import type { TenantScope } from './scope.ts';

/**
 * Units of work that last as long as somebody sends what they write. Each keeps a connection, and vacuum from its work;
 * so a tenant has one, and all tenants together have a quarter of the connections. Who comes when there is no place left
 * is refused at once: to wait for somebody else's upload is to wait for nobody knows how long.
 */
export interface LastingUnits {
  /** What does not last needs no place. @throws AppError unavailable */
  within<T>(scope: TenantScope, options: BulkOptions, unit: () => Promise<T>): Promise<T>;
}

/** @param connections of the node that takes writes */
export function createLastingUnits(connections: number): LastingUnits {
  const most = Math.max(1, Math.floor(connections / 4));
  const underWay = new Set<string>();
  return {
    async within({ tenant: { id } }, { lasting = false }, unit) {
      if (!lasting) return unit();
      if (underWay.has(id)) throw unavailable('Another upload of this tenant is under way.');
      if (underWay.size >= most) throw unavailable('Too many uploads are under way.');
      underWay.add(id);
      try {
        return await unit();
      } finally {
        underWay.delete(id);
      }
    },
  };
}
