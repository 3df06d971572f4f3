/** Kinds of tests are folders. Those that look at what happens within moments come last, two at a time. */
const common = {
  extensionsToTreatAsEsm: ['.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'es6' } },
    ],
  },
  testEnvironment: 'node',
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
};

export default {
  // The same transform cache would be stale for nobody; the default place is shared by all users of a machine.
  cacheDirectory: '<rootDir>/node_modules/.cache/jest',
  // Half of the time they wait for PostgreSQL.
  maxWorkers: 3,
  testTimeout: 30_000,
  projects: [
    {
      ...common,
      displayName: 'parallel',
      testMatch: [
        '<rootDir>/test/*.test.ts',
        '<rootDir>/test/{unit,api,isolation,migrations,cli,process,cluster}/**/*.test.ts',
      ],
    },
    {
      ...common,
      displayName: 'calm',
      runner: '<rootDir>/test/support/calm-runner.mjs',
      testMatch: ['<rootDir>/test/{replication,faults,history}/**/*.test.ts'],
    },
  ],
};
