import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import pLimit, { type LimitFunction } from 'p-limit';
import type { Clock } from '../../clock.ts';
import type { ControlDatabase, SchemaName } from '../../db/index.ts';
import { type Applied, type ApplyParts, Stopped } from './apply.ts';
import type { Gate, Stop } from './gate.ts';
import type { Journal } from './journal.ts';
import { provisioningUnderWay, readFacts } from './ledger.ts';
import type { SchemaPlan } from './plan.ts';
import { countsOf, type SchemaResult } from './report.ts';
import type { RunChoices } from './runs.ts';
import type { Script } from './script.ts';
import { type Segment, segmentsOf } from './segments.ts';
import { resultOf, type Tally } from './tally.ts';
import { type Wave, wavesOf } from './waves.ts';

/** One run under its lease: the waves, one after another. */
export interface FleetRun {
  database: ControlDatabase;
  clock: Clock;
  gate: Gate;
  journal: Journal;
  tally: Tally;
  parallel: number;
  choices: RunChoices;
  /** Of the tenant ladder. */
  scripts: readonly Script[];
  plan(): Promise<SchemaPlan[]>;
  /** All of a schema in one transaction: control, and any that has nothing yet. Its result is in the tally. */
  whole(item: SchemaPlan): Promise<SchemaResult>;
  apply(schema: SchemaName, segment: Segment, wave: number, limit: ApplyParts['limit']): Promise<Applied>;
  /** Tells those who serve these schemas that they must know this step; resolves when all of them have heard it. */
  announce(schemas: readonly SchemaName[], step: string): Promise<void>;
  /** Takes back what was announced and not applied. */
  retract(schemas: readonly SchemaName[]): Promise<void>;
}

const defaultMaxFailures = 10;
const maxLateWaves = 10;
const provisioningPatienceMs = 30_000;

/** @returns why it did not come to its end; what came of each schema is in the tally */
export async function runWaves(run: FleetRun, plans: readonly SchemaPlan[]): Promise<Stop | undefined> {
  const { gate, journal, tally, choices, clock } = run;
  const slots = { many: pLimit(run.parallel), one: pLimit(1) };
  const total = plans.filter(({ pending }) => pending.length > 0).length;
  let wave = '';

  async function begin(name: string, schemas: number): Promise<void> {
    await gate.pass();
    wave = name;
    journal.tell({ type: 'wave', wave, schemas });
    tell();
  }

  function tell(): void {
    const { applied, failed, skipped } = countsOf(tally.results);
    journal.progress({ wave, total: Math.max(total, applied + failed + skipped), applied, failed, skipped });
  }

  function close(
    { item, steps, startedMs }: Course,
    outcome: 'applied' | 'failed' | 'skipped',
    error?: string,
  ): void {
    const result = tally.add(resultOf(item, outcome, steps, clock.monotonicMs() - startedMs, error));
    journal.tell({ type: 'schema', wave, ...result });
    tell();
    const { maxFailures = defaultMaxFailures } = choices;
    const { failed } = countsOf(tally.results);
    if (failed > maxFailures) gate.stop('halted', `${failed} schemas have failed, and ${maxFailures} may`);
  }

  async function runWave({ name, schemas, strict }: Wave, number: number): Promise<void> {
    await begin(name, schemas.length);
    const fresh = schemas.filter(({ version }) => version === undefined);
    await Promise.all(fresh.map((item) => slots.many(() => makeWhole(item))));
    const courses = schemas.filter((item) => !fresh.includes(item)).map(courseOf);
    const wanted = new Set(schemas.flatMap(({ pending }) => pending));
    for (const segment of segmentsOf(run.scripts.filter(({ step }) => wanted.has(step)))) {
      const waiting = courses.filter(({ left }) => segment.scripts.some(({ step }) => left.has(step)));
      await announce(segment, waiting);
      const slot = segment.kind === 'transaction' ? slots.many : slots.one;
      await Promise.all(waiting.map((course) => runSegment(course, segment, { number, slot, strict })));
      await retract(segment, waiting);
    }
  }

  /** One that has nothing yet, or is not even there. */
  async function makeWhole(item: SchemaPlan): Promise<void> {
    await nextTurn();
    try {
      await gate.pass();
    } catch (error) {
      if (error instanceof Stopped) return; // it is among those that are left
      throw error;
    }
    journal.tell({ type: 'schema', wave, ...(await run.whole(item)) });
    tell();
  }

  async function announce({ scripts }: Segment, courses: readonly Course[]): Promise<void> {
    const [first] = scripts;
    if (first?.contract !== true || courses.length === 0 || gate.stopped() !== undefined) return;
    await run.announce(
      courses.map(({ item }) => item.schema),
      first.step,
    );
  }

  /** Where it did not come after all, older builds go on serving. */
  async function retract({ scripts }: Segment, courses: readonly Course[]): Promise<void> {
    const [first] = scripts;
    const without = courses.filter(({ steps }) => first !== undefined && !steps.includes(first.step));
    if (first?.contract === true && without.length > 0) {
      await run.retract(without.map(({ item }) => item.schema));
    }
  }

  async function runSegment(
    course: Course,
    segment: Segment,
    { number, slot, strict }: { number: number; slot: LimitFunction; strict: boolean },
  ): Promise<void> {
    const { item, steps, left } = course;
    const done = await run
      .apply(item.schema, segment, number, (attempt) =>
        slot(async () => {
          await nextTurn(); // so that what came of the one before has been taken in
          return gate.giveWay(async () => {
            await gate.pass();
            course.startedMs ||= clock.monotonicMs();
            return attempt();
          });
        }),
      )
      .catch((error: unknown) => {
        if (error instanceof Stopped) return error;
        throw error;
      });
    if (done instanceof Stopped || done.outcome === 'gone') left.clear();
    if (done instanceof Stopped) return close(course, 'skipped', done.message);
    if (done.outcome === 'gone') return close(course, 'skipped', 'the schema is gone');
    steps.push(...done.steps);
    if (done.outcome === 'failed') {
      left.clear();
      close(course, 'failed', done.error);
      if (strict) gate.stop('halted', `${item.schema} failed, and nobody else is to suffer it`);
      return done.note();
    }
    for (const { step } of segment.scripts) left.delete(step);
    if (left.size === 0) close(course, 'applied');
  }

  async function foundations([control, shared]: readonly SchemaPlan[]): Promise<string | undefined> {
    for (const item of [control, shared]) {
      if (item === undefined || tally.has(item.schema)) continue;
      if (item.schema === 'control') {
        await begin('control', 1);
        await run.whole(item);
      } else if (item.pending.length === 0) tally.add(resultOf(item, 'up-to-date', [], 0));
      else await runWave({ name: item.schema, schemas: [item], strict: false }, 0);
      if (countsOf(tally.results).failed > 0) return `${item.schema} failed`;
    }
    return undefined;
  }

  async function everybody(): Promise<void> {
    const broken = await foundations(plans);
    if (broken !== undefined) return gate.stop('halted', broken);
    tally.upToDate();
    const facts = await run.database.read(readFacts);
    let number = 0;
    for (const next of wavesOf(waitingIn(plans), facts, choices.canary)) {
      number += 1;
      await runWave(next, number);
    }
    // Tenants that were made meanwhile, by a build that knows fewer steps.
    for (let late = 1; late <= maxLateWaves && choices.tenants === undefined; late += 1) {
      await provisioned();
      const schemas = waitingIn(await run.plan());
      if (schemas.length === 0) return;
      number += 1;
      await runWave({ name: `latecomers ${late}`, schemas, strict: false }, number);
    }
  }

  const waitingIn = (items: readonly SchemaPlan[]) =>
    items.filter(({ schema, pending }) => pending.length > 0 && !tally.has(schema));

  /** Tenants that are being made at this moment are seen by nobody until they are committed. */
  async function provisioned(): Promise<void> {
    const startedMs = clock.monotonicMs();
    let left = await run.database.read(provisioningUnderWay);
    while (left.length > 0 && clock.monotonicMs() - startedMs < provisioningPatienceMs) {
      await sleep(50);
      const now = await run.database.read(provisioningUnderWay);
      left = left.filter((pid) => now.includes(pid));
    }
  }

  try {
    await everybody();
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
  }
  const stopped = gate.stopped();
  if (stopped !== undefined) tally.skipAll(stopped.reason);
  tell();
  return stopped;
}

/** One schema on its way through a wave. */
interface Course {
  item: SchemaPlan;
  /** Applied so far. */
  steps: string[];
  /** Still to be applied. */
  left: Set<string>;
  /** Of its first try, which may have waited for its turn. 0 before. */
  startedMs: number;
}

function courseOf(item: SchemaPlan): Course {
  return { item, steps: [], left: new Set(item.pending), startedMs: 0 };
}
