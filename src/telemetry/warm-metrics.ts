import { Gauge, type Registry } from 'prom-client';

/** Of the database and not of this process: the same wherever it is asked. */
export function warmMetrics(registry: Registry, ready: () => number | undefined): void {
  const shown = new Gauge({
    name: 'tenantry_warm_schemas',
    help: 'Schemas that wait for a tenant, in the whole database; absent when not known.',
    registers: [registry],
    collect() {
      const schemas = ready();
      if (schemas === undefined) shown.remove();
      else shown.set(schemas);
    },
  });
}
