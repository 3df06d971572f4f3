import type { Registry } from 'prom-client';
import type { DatabaseObserver } from '../db/index.ts';
import { counters, histograms } from './cells.ts';

/** 0.25 ms is a read in one round trip on the same machine, 5 s the longest wait for a connection. */
const boundsS = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** What the database tells, counted. */
export function databaseMetrics(registry: Registry): DatabaseObserver {
  const reads = counters(registry, {
    name: 'tenantry_reads_total',
    help: 'Reads by the node they ended on and the reason it was chosen for.',
    labelNames: ['node', 'role', 'reason'],
  });
  const checks = counters(registry, {
    name: 'tenantry_position_checks_total',
    help: 'Reads whose replica had to prove its position, by the outcome: held or behind.',
    labelNames: ['node', 'result'],
  });
  const retries = counters(registry, {
    name: 'tenantry_retries_total',
    help: 'Units of work that were run again, by the cause.',
    labelNames: ['remedy'],
  });
  const units = histograms(registry, boundsS, {
    name: 'tenantry_unit_seconds',
    help: 'Duration of units of work, with all their runs and their waiting for a connection.',
    labelNames: ['kind'],
  });
  const waits = histograms(registry, boundsS, {
    name: 'tenantry_pool_wait_seconds',
    help: 'How long a connection was waited for.',
    labelNames: ['node'],
  });
  return {
    read({ node, role, reason }) {
      reads.cell(node, role, reason).n += 1;
    },
    checked(node, held) {
      checks.cell(node, held ? 'held' : 'behind').n += 1;
    },
    retried(cause) {
      retries.cell(cause).n += 1;
    },
    unit: (kind, ms) => units.cell(kind).add(ms),
    acquired: (node, ms) => waits.cell(node).add(ms),
  };
}
