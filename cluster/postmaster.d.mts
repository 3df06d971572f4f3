/** One server process: its postmaster's pid and the (absolute, resolved) data directory it was started on. */
export interface Postmaster {
  pid: number;
  dataDir: string;
}

/**
 * True when `pid` is, at this moment, a PostgreSQL server (or the initdb) of exactly this data directory. A pid that
 * has since been given to another program, or to the server of another directory, is not.
 */
export function serves(pid: number, dataDir: string): boolean;

/** Sends a signal; a process that is already gone is no error. */
export function signal(pid: number, name: NodeJS.Signals): void;

/**
 * SIGKILL for a postmaster and its backends. Left to themselves, backends notice their postmaster's death only when
 * they next wait, and a busy one keeps a new server from starting until its query is done.
 */
export function killWhole(pid: number): void;

/**
 * Ends these servers and resolves when none is left: fast shutdown, after 10 s immediate shutdown, after 5 s more
 * SIGKILL. Frozen ones are woken first. Never signals a process that `serves` does not vouch for.
 */
export function endServers(servers: readonly Postmaster[]): Promise<void>;
