import type { Node } from '../../cluster/cluster.ts';
import { query } from '../support/clone.ts';
import { type Arena, databaseName, serverNodes } from './arena.ts';

/** Which server is the primary at the moment. */
export interface Roles {
  primary: Node;
  replicas(): Node[];
}

export function createRoles(): Roles {
  return {
    primary: 'primary',
    replicas() {
      return serverNodes.filter((node) => node !== this.primary);
    },
  };
}

/** A commit is acknowledged when one replica has it: what has been acknowledged then outlives the primary. */
export async function synchronous(arena: Arena, node: Node): Promise<void> {
  await superuserOf(arena, node, `alter system set synchronous_standby_names = 'ANY 1 (*)'`);
  await superuserOf(arena, node, 'select pg_reload_conf()');
}

/** Runs SQL as a superuser on one of the servers, in the database of the history. */
export async function superuserOf<Row extends object>(
  { cluster }: Arena,
  node: Node,
  text: string,
): Promise<Row[]> {
  const url = new URL(node === 'primary' ? cluster.primaryUrl : (cluster.replicaUrls[node] ?? ''));
  url.pathname = `/${databaseName}`;
  return query<Row>(url.href, text);
}
