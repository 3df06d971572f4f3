import TestRunner from 'jest-runner';

/** Two test files at a time: what happens within moments needs a machine that has moments to spare. */
export default class CalmRunner extends TestRunner {
  constructor(globalConfig, context) {
    super({ ...globalConfig, maxWorkers: Math.min(2, globalConfig.maxWorkers) }, context);
  }
}
