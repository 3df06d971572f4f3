import { writeFileSync } from 'node:fs';

/** Loaded before a program (`--import`): notes in the file PROCESSOR_TIME, when it ends, how many milliseconds it took. */
process.once('exit', () => {
  const { user, system } = process.cpuUsage();
  const file = process.env['PROCESSOR_TIME'];
  if (file !== undefined) writeFileSync(file, String((user + system) / 1000));
});
