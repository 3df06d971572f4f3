import { pino } from 'pino';
import { systemClock } from '../../src/clock.ts';
import { createJobWorker } from '../../src/control/jobs/worker.ts';
import { createControlDatabase, schemaName } from '../../src/db/index.ts';

/** A process that begins jobs of the kind `endless` and never ends them, to be killed. argv: the URL of the owner. */
const adminUrl = process.argv[2] ?? '';
const database = createControlDatabase({ url: adminUrl, schema: schemaName('control'), clock: systemClock });
createJobWorker({
  adminUrl,
  database,
  clock: systemClock,
  logger: pino(),
  handlers: {
    async endless(run) {
      await database.write((session) =>
        run.save(session, { state: { by: 'the dead' }, progress: { done: 1, total: 2, unit: 'steps' } }),
      );
      process.stdout.write('began\n');
      return new Promise(() => undefined);
    },
  },
}).start();
