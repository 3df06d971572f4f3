import type { StartedTestContainer } from 'testcontainers';

/** A primary and a streaming replica in containers; undefined when no engine answers within 3 s. */
export async function startContainers(): Promise<
  | {
      kind: string;
      primaryUrl: string;
      replicaUrls: string[];
      stop(): Promise<void>;
    }
  | undefined
> {
  const { GenericContainer, getContainerRuntimeClient, Network, Wait } = await import('testcontainers');
  if (!(await answersInTime(getContainerRuntimeClient()))) return undefined;

  const image = 'postgres:18';
  const password = 'container-of-tests';
  const network = await new Network().start();
  const primary = await new GenericContainer(image)
    .withNetwork(network)
    .withNetworkAliases('primary')
    .withExposedPorts(5432)
    .withEnvironment({ POSTGRES_PASSWORD: password, POSTGRES_HOST_AUTH_METHOD: 'scram-sha-256' })
    .withCommand(['postgres', ...settings.flatMap((setting) => ['-c', setting])])
    // The image starts the server twice; the first time only for its own set-up.
    .withWaitStrategy(Wait.forLogMessage('database system is ready to accept connections', 2))
    .start();
  await run(primary, 'echo "host replication all all scram-sha-256" >> "$PGDATA/pg_hba.conf"');
  await run(primary, 'psql -U postgres -c "select pg_reload_conf()"');
  const replica = await new GenericContainer(image)
    .withNetwork(network)
    .withExposedPorts(5432)
    .withEnvironment({ PGPASSWORD: password })
    .withUser('postgres')
    .withCommand([
      'bash',
      '-c',
      'rm -rf "$PGDATA"/* && pg_basebackup -h primary -U postgres -D "$PGDATA" -R -C -S replica1 && exec postgres -c max_connections=200 -c max_locks_per_transaction=256',
    ])
    .withWaitStrategy(Wait.forLogMessage('ready to accept read-only connections'))
    .start();

  const urlOf = (container: StartedTestContainer) =>
    `postgresql://postgres:${password}@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  return {
    kind: `containers of ${image}`,
    primaryUrl: urlOf(primary),
    replicaUrls: [urlOf(replica)],
    async stop() {
      await replica.stop();
      await primary.stop();
      await network.stop();
    },
  };
}

async function run(container: StartedTestContainer, command: string): Promise<void> {
  const { exitCode, output } = await container.exec(['bash', '-c', command], { user: 'postgres' });
  if (exitCode !== 0) throw new Error(output);
}

const settings = [
  'wal_level=replica',
  'max_wal_senders=10',
  'hot_standby_feedback=on',
  'fsync=off',
  'max_connections=200',
  'max_locks_per_transaction=256',
];

const patienceMs = 3000;

/** A client that is installed says nothing about an engine that runs, so the engine itself is asked. */
async function answersInTime(engine: Promise<unknown>): Promise<boolean> {
  const answered = engine.then(
    () => true,
    () => false,
  );
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), patienceMs);
  });
  const result = await Promise.race([answered, tooLate]);
  clearTimeout(timer);
  return result;
}
