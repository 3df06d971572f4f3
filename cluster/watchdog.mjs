/**
 * Started beside a cluster, in a session of its own. Holds one end of a pipe to the process that started the cluster;
 * when that process ends, however it ends, the pipe closes and the watchdog stops the servers. This also covers
 * SIGKILL, which no exit handler in the parent could.
 *
 * Messages, one JSON object a line: {"watch": {pid, dataDir}}, {"forget": pid}, {"remove": {folders, lockFile,
 * lockText}}, {"done": true}.
 */
import { readFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { endServers } from './postmaster.mjs';

// Only the pipe decides when the watchdog ends.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => {});

const servers = new Map();
let leavings;

function removeLeavings() {
  if (leavings === undefined) return;
  const { folders, lockFile, lockText } = leavings;
  try {
    if (readFileSync(lockFile, 'utf8') !== lockText) return; // somebody has taken the folder over
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  } catch {
    // What cannot be removed stays; there is nobody left to tell.
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.watch) servers.set(message.watch.pid, message.watch);
  if (message.forget) servers.delete(message.forget);
  if (message.remove) leavings = message.remove;
  if (message.done) process.exit(0);
}

await endServers([...servers.values()]).catch(() => {});
removeLeavings();
