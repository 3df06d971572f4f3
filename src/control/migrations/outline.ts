import type { LadderName } from './ladder.ts';
import type { SchemaPlan } from './plan.ts';
import { shown } from './replay.ts';
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
  /** What is executed, as far as it can be known before. */
  statements: string[];
  /** Why not all of it can be known. */
  opaque: string | null;
}

export function outlineOf(
  plans: readonly SchemaPlan[],
  scripts: Readonly<Record<LadderName, readonly Script[]>>,
  facts: ReadonlyMap<string, SchemaFacts>,
  canary?: CanaryChoice,
): Outline {
  const pending = plans.filter((plan) => plan.pending.length > 0);
  const waiting = (ladder: LadderName, step: string) =>
    pending.filter((plan) => plan.ladder === ladder && plan.pending.includes(step)).length;
  const base = pending.filter(({ schema }) => schema === 'control' || schema === 'shared');
  const tenants = pending.filter((plan) => !base.includes(plan));
  return {
    schemas: plans.length,
    pending: pending.length,
    steps: (['control', 'tenant'] as const).flatMap((ladder) =>
      scripts[ladder].flatMap((script) => {
        const schemas = waiting(ladder, script.step);
        return schemas === 0 ? [] : [stepOf(ladder, script, schemas)];
      }),
    ),
    waves: [
      ...base.map(({ schema }) => ({ name: schema, schemas: [schema] })),
      ...wavesOf(tenants, facts, canary).map(({ name, schemas }) => ({
        name,
        schemas: schemas.map(({ schema }) => schema),
      })),
    ],
  };
}

function stepOf(ladder: LadderName, script: Script, schemas: number): StepOutline {
  const { step, statements, transactional, contract, backfill, opaque = null } = script;
  const rewrites =
    backfill === undefined
      ? []
      : [`update ${backfill.table} set ${backfill.set} where ${backfill.where} -- a few rows at a time`];
  return {
    ...{ ladder, step, schemas, contract, opaque },
    how: backfill === undefined ? (transactional ? 'transaction' : 'concurrent') : 'backfill',
    statements: [...statements.map(shown), ...rewrites],
  };
}
