/** Run as a program of its own: starts a cluster in the given folder, says so, and waits to be killed. */
import { startCluster } from '../../cluster/cluster.ts';

const [dir = '', removeOnStop] = process.argv.slice(2);
await startCluster({ dir, durable: false, removeOnStop: removeOnStop === 'remove' });
process.stdout.write('up\n');
setInterval(() => {}, 60_000);
