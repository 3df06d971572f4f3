import type { Client, Request } from 'autocannon';
import { productsPerTenant, tenantCount } from './population.ts';
import type { Requests } from './request.ts';
import type { Routing } from './routing.ts';
import { createActors } from './actors.ts';

/** What is asked. R1, R20 and W1 keep to users of their own, so that no write of theirs pins another's reads. */
export const workloads = {
  R1: 'one product by id, of a random tenant',
  R20: 'the newest 20 products of a random tenant',
  W1: 'insert one product, answered with the row',
  RW: '90 % reads, of old rows and of those the actor wrote last; 10 % inserts',
} as const;
export type Workload = keyof typeof workloads;
export const workloadKeys = Object.keys(workloads) as Workload[];

const reader = 0;
const writer = 1;
/** Different requests per connection, made before the clock starts: building one costs as much as sending it. */
const requestsPerConnection = 400;

/** Gives a connection of the load generator its work. */
export type Connect = (client: Client, connection: number) => void;

/**
 * @param run makes the SKUs of this run different from those of all others
 * @param routing filled by RW
 */
export function connectTo(
  workload: Workload,
  given: { requests: Requests; connections: number; run: string; windowMs: number; routing: Routing },
): Connect {
  const { requests, run } = given;
  const byWorkload: Record<Workload, Connect> = {
    R1: prepared(() => requests.product(below(tenantCount), reader, below(productsPerTenant))),
    R20: prepared(() => requests.page(below(tenantCount), reader)),
    W1(client, connection) {
      let written = 0;
      const setupRequest = (): Request => {
        written += 1;
        return requests.insert(below(tenantCount), writer, `${run}-${connection}-${written}`);
      };
      client.setRequests([{ setupRequest }]);
    },
    RW(client, connection) {
      const actors = createActors({ ...given, connection });
      client.setRequests([{ setupRequest: actors.next, onResponse: actors.answered }]);
    },
  };
  return byWorkload[workload];
}

function prepared(make: () => Request): Connect {
  return (client) => client.setRequests(Array.from({ length: requestsPerConnection }, make));
}

/** A random whole number from 0. */
export function below(limit: number): number {
  return Math.floor(Math.random() * limit);
}
