import type { LadderName } from './ladder.ts';
import { describeLocks, lockLevels, type StatementLocks } from './locks.ts';
import type { SchemaPlan } from './plan.ts';
import type { Script } from './script.ts';
import { type CanaryChoice, type SchemaFacts, wavesOf } from './waves.ts';

/** What a run would do, for people to read before they start it. */
export interface Outline {
  /** Of the whole fleet. */
  schemas: number;
  /** Those with something to apply. */
  pending: number;
  /** In the order of the ladders. */
  steps: StepOutline[];
  /** In the order of the run; control and shared first. */
  waves: { name: string; schemas: string[] }[];
}

export interface StepOutline {
  ladder: LadderName;
  step: string;
  /** How many wait for it. */
  schemas: number;
  /** `transaction`, `concurrent` (outside of one, schema after schema) or `backfill`. */
  how: 'transaction' | 'concurrent' | 'backfill';
  /** Builds that do not know it stop serving a schema before it gets it. */
  contract: boolean;
  /** What is executed, as far as it can be known before, and which lock on tables in use it takes, in words. */
  statements: { sql: string; lock: string | null }[];
  /** Why not all of it can be known. */
  opaque: string | null;
}

export async function outlineOf(
  plans: readonly SchemaPlan[],
  scripts: Readonly<Record<LadderName, readonly Script[]>>,
  facts: ReadonlyMap<string, SchemaFacts>,
  canary?: CanaryChoice,
): Promise<Outline> {
  const pending = plans.filter((plan) => plan.pending.length > 0);
  const waiting = (ladder: LadderName, step: string) =>
    pending.filter((plan) => plan.ladder === ladder && plan.pending.includes(step)).length;
  const base = pending.filter(({ schema }) => schema === 'control' || schema === 'shared');
  const tenants = pending.filter((plan) => !base.includes(plan));
  const steps: StepOutline[] = [];
  for (const ladder of ['control', 'tenant'] as const) {
    for (const script of scripts[ladder]) {
      const schemas = waiting(ladder, script.step);
      if (schemas > 0) steps.push(await stepOf(ladder, script, schemas));
    }
  }
  return {
    schemas: plans.length,
    pending: pending.length,
    steps,
    waves: [
      ...base.map(({ schema }) => ({ name: schema, schemas: [schema] })),
      ...wavesOf(tenants, facts, canary).map(({ name, schemas }) => ({
        name,
        schemas: schemas.map(({ schema }) => schema),
      })),
    ],
  };
}

async function stepOf(ladder: LadderName, script: Script, schemas: number): Promise<StepOutline> {
  const { step, transactional, contract, backfill, opaque = null } = script;
  const rewrites =
    backfill === undefined
      ? []
      : [
          {
            sql: `update ${backfill.table} set ${backfill.set} where ${backfill.where}`,
            lock: 'the rows, a few at a time',
          },
        ];
  const levels = await lockLevels(script);
  return {
    ...{ ladder, step, schemas, contract, opaque },
    how: backfill === undefined ? (transactional ? 'transaction' : 'concurrent') : 'backfill',
    statements: [...levels.map(lockedBy), ...rewrites],
  };
}

const lockedBy = (level: StatementLocks) => ({
  sql: level.sql,
  lock: level.mode === 'none' ? null : describeLocks(level),
});
