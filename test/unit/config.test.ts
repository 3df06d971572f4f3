import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { ConfigError, exampleEnv, loadConfig, printConfig } from '../../src/config.ts';
import { settings } from '../../src/settings.ts';

const good = {
  DATABASE_URL: 'postgresql://tenantry_app:secret@127.0.0.1:5432/tenantry',
  JWT_SECRET: 'd2Vhaydh3kf82hfk29fhskdf82hf9s8hf2',
};

function problemsOf(env: Record<string, string>, purpose: 'serve' | 'manage' = 'serve'): readonly string[] {
  try {
    loadConfig(env, purpose);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('the configuration', () => {
  it('has the defaults that are documented', () => {
    expect(loadConfig(good, 'serve')).toMatchObject({
      PORT: 3000,
      ADMIN_PORT: 3001,
      DATABASE_REPLICA_URLS: [],
      DATABASE_POOL_MAX: 10,
      READ_AFTER_WRITE_WINDOW_MS: 5000,
      MAX_REPLICA_LAG_MS: 2000,
      ACCESS_TOKEN_TTL_S: 900,
      REFRESH_TOKEN_TTL_S: 604_800,
      BCRYPT_COST: 12,
      production: false,
    });
  });

  it('tells all that is wrong at once', () => {
    const problems = problemsOf({ PORT: 'http', DATABASE_POOL_MAX: '0', LOG_LEVEL: 'loud' });
    const named = problems.map((problem) => problem.split(/[: ]/)[0]);
    expect(named).toEqual(
      expect.arrayContaining(['PORT', 'DATABASE_POOL_MAX', 'LOG_LEVEL', 'DATABASE_URL', 'JWT_SECRET']),
    );
  });

  it('takes an empty variable for an absent one', () => {
    expect(loadConfig({ ...good, PORT: '', DATABASE_REPLICA_URLS: '' }, 'serve').PORT).toBe(3000);
  });

  it('splits lists and checks each entry', () => {
    const urls = 'postgresql://a@h1/d, postgresql://a@h2/d';
    expect(loadConfig({ ...good, DATABASE_REPLICA_URLS: urls }, 'serve').DATABASE_REPLICA_URLS).toHaveLength(
      2,
    );
    expect(problemsOf({ ...good, DATABASE_REPLICA_URLS: 'mysql://a@h1/d' })).toHaveLength(1);
  });

  it('refuses a tolerated lag beyond the window, which would break read-your-writes', () => {
    const problems = problemsOf({ ...good, MAX_REPLICA_LAG_MS: '6000' });
    expect(problems).toEqual([expect.stringContaining('MAX_REPLICA_LAG_MS must not exceed')]);
  });

  it('refuses the primary among the replicas', () => {
    expect(problemsOf({ ...good, DATABASE_REPLICA_URLS: good.DATABASE_URL })).toHaveLength(1);
  });

  it('refuses placeholder secrets and cheap hashes in production', () => {
    const problems = problemsOf({
      ...good,
      NODE_ENV: 'production',
      JWT_SECRET: 'please-change-this-to-something-long',
      OPERATOR_EMAIL: 'operator@example.com',
      OPERATOR_PASSWORD: 'operator-password',
      BCRYPT_COST: '4',
    });
    expect(problems.map((problem) => problem.split(/[: ]/)[0])).toEqual([
      'JWT_SECRET',
      'OPERATOR_PASSWORD',
      'BCRYPT_COST',
    ]);
  });

  it('asks only for what the purpose needs', () => {
    expect(problemsOf({ DATABASE_ADMIN_URL: 'postgresql://o@h/d' }, 'manage')).toEqual([]);
    expect(problemsOf(good, 'manage')).toEqual([expect.stringContaining('DATABASE_ADMIN_URL is missing')]);
  });

  it('never shows a secret, in print or in a complaint', () => {
    expect(printConfig(loadConfig(good, 'serve'))).not.toMatch(/secret@|d2Vhay/);
    expect(problemsOf({ ...good, JWT_SECRET: 'short-one' }).join()).not.toContain('short-one');
  });

  it('is frozen', () => {
    expect(Object.isFrozen(loadConfig(good, 'serve'))).toBe(true);
  });

  it('is what .env.example and the README say', () => {
    expect(readFileSync('.env.example', 'utf8')).toBe(exampleEnv());
    const readme = readFileSync('README.md', 'utf8');
    expect(Object.keys(settings).filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
  });
});
