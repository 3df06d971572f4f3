import TestRunner from 'jest-runner';

/** One test file at a time, in the main process. */
export default class SerialRunner extends TestRunner {
  isSerial = true;
}
