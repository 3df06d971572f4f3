import { createReadStream, createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { buildControlPlane, buildDataPlane, createKernel } from '../src/build.ts';
import { loadConfig } from '../src/config.ts';
import { buildExporter } from '../src/transfer.ts';

/**
 * One export or import, alone in its process, so that the memory it takes is its own:
 *   transfer-process export <slug> <file>
 *   transfer-process import <slug> <file>
 */
const [verb, slug = '', file = ''] = process.argv.slice(2);
const kernel = createKernel(loadConfig(process.env, 'export'));
const data = buildDataPlane(kernel);
const control = buildControlPlane(kernel);

let peakBytes = 0;
const sampling = setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
}, 50);

try {
  await data.start();
  const idleBytes = process.memoryUsage.rss();
  const before = process.cpuUsage();
  const startedMs = performance.now();
  const { rows, node } = verb === 'export' ? await exportOnce() : await importOnce();
  const ms = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  const cpuMs = (user + system) / 1000;
  process.stdout.write(`${JSON.stringify({ rows, node, ms, cpuMs, idleBytes, peakBytes })}\n`);
} finally {
  clearInterval(sampling);
  await control.stop();
  await data.stop();
}

async function exportOnce(): Promise<{ rows: number; node: string }> {
  const sink = createWriteStream(file);
  const report = await buildExporter(kernel, control, data).exportTenant(slug, { sink });
  sink.end();
  await finished(sink);
  return report;
}

async function importOnce(): Promise<{ rows: number; node: string }> {
  const { rows } = await control.importer.importTenant({ source: createReadStream(file), slug });
  return { rows, node: 'primary' };
}
