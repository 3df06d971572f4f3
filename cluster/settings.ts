/** The server settings of a development and test cluster, as the text of one configuration file. */
import { HOST } from './port.ts';

export const REPLICATOR = 'replicator';

export interface Settings {
  port: number;
  durable: boolean;
  replicas: number;
}

/** What makes a server a replica: whom it follows, under which name. */
export interface Following {
  primaryPort: number;
  password: string;
  /** Both its application_name and its replication slot. */
  slot: string;
}

export function settingsText(
  { port, durable, replicas }: Settings,
  following: Following | undefined,
): string {
  const settings: Record<string, string | number> = {
    listen_addresses: HOST,
    port,
    // No sockets: their path may be at most 107 bytes long, and /var/run is not always writable.
    unix_socket_directories: '',
    // A replica's limits must be no lower than its primary's, so both have the same.
    max_connections: 200,
    max_locks_per_transaction: 256, // one transaction may create or drop many tenants' tables
    max_wal_senders: 10 + replicas,
    max_replication_slots: 10 + replicas,
    shared_buffers: '64MB',
    wal_level: 'replica',
    hot_standby: 'on',
    hot_standby_feedback: 'on',
    // A replica that is away for long is rebuilt; the disk of a laptop is not filled for it.
    max_slot_wal_keep_size: '512MB',
    wal_receiver_status_interval: '1s',
    wal_retrieve_retry_interval: '250ms', // default 5s: how long a replica sulks after its primary was away
    log_line_prefix: '%m [%p] %u@%d ',
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...(durable ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...(following === undefined ? {} : followingSettings(following)),
  };
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'`,
  );
  return `# Written anew at every start of the cluster.\n${lines.join('\n')}\n`;
}

function followingSettings({ primaryPort, password, slot }: Following): Record<string, string> {
  return {
    primary_conninfo: `host=${HOST} port=${primaryPort} user=${REPLICATOR} password=${password} application_name=${slot}`,
    primary_slot_name: slot,
  };
}
