import { type Author, type ControlDatabase, schemaName, type WriteSession } from '../../db/index.ts';
import { AppError } from '../../errors.ts';
import { recordPlatformEvent } from '../audit/repository.ts';
import { type Finding, type Mend, saidOf } from './drift/finding.ts';
import { findOffenders, isReference, type Offender } from './drift/offenders.ts';
import { withBriefRun } from './brief-run.ts';
import type { Lease, LeaseParts } from './lease.ts';
import { climbLadder, lockLadder, patientLadder, type Rung, sqlStateOf } from './lock-ladder.ts';
import type { Migrator } from './migrator.ts';

/** Mends what drift has found, where no row can be lost or refused by it; the rest is left to people. */
export interface Repairer {
  /**
   * Under the lease of the fleet, one schema after the other, and of each what keeps tenants apart first. A mend that fails
   * leaves the rows as they are and does not stop the others. Every mend is a platform event, `migrations.repair`.
   *
   * @throws AppError run_under_way
   */
  repair(findings: readonly Finding[], options: RepairOptions): Promise<RepairReport>;
}

export interface RepairOptions {
  /** Whom the audit names. */
  author: Author;
  onProgress?: (progress: { done: number; total: number; result: RepairResult }) => void;
  /** When it aborts, the mend that has begun is finished and the rest is skipped. */
  signal?: AbortSignal;
}

export interface RepairResult {
  finding: Finding;
  outcome: 'mended' | 'failed' | 'by hand' | 'skipped';
  /** Why it failed or was skipped. */
  error?: string;
  /** Rows that stand against it: some of them. They are left as they are. */
  offenders?: readonly Offender[];
}

export interface RepairReport {
  results: RepairResult[];
  counts: Record<RepairResult['outcome'], number>;
}

export interface RepairerParts extends LeaseParts {
  database: ControlDatabase;
  /** For one repair: connections under a name of its own. */
  openMigrator: (options: { poolMax: number; applicationName: string }) => Migrator;
  /** Instead of those of lock-ladder.ts. For tests. */
  ladders?: { lock: readonly Rung[]; patient: readonly Rung[] };
}

export function createRepairer(parts: RepairerParts): Repairer {
  const { database, openMigrator, ladders = { lock: lockLadder, patient: patientLadder } } = parts;

  async function repair(findings: readonly Finding[], options: RepairOptions): Promise<RepairReport> {
    const ordered = inOrder(findings);
    const results: RepairResult[] = [];
    const add = (result: RepairResult) => {
      results.push(result);
      options.onProgress?.({ done: results.length, total: ordered.length, result });
    };
    const mendable = ordered.some((finding) => finding.repair === 'safe');
    if (mendable) {
      const asked = { options: {}, requestedBy: `${options.author.actor.id}, repair` };
      await withBriefRun(parts, asked, (lease) => mendAll(ordered, lease, options, add));
    } else for (const finding of ordered) add({ finding, outcome: 'by hand' });
    const counts = { mended: 0, failed: 0, 'by hand': 0, skipped: 0 };
    for (const { outcome } of results) counts[outcome] += 1;
    return { results, counts };
  }

  async function mendAll(
    findings: readonly Finding[],
    lease: Lease,
    { author, signal }: RepairOptions,
    add: (result: RepairResult) => void,
  ): Promise<boolean> {
    const migrator = openMigrator({ poolMax: 2, applicationName: lease.applicationName });
    let well = true;
    try {
      for (const finding of findings) {
        const result = await attempt(finding, { migrator, lease, author }, stopped(lease, signal));
        well &&= result.outcome === 'mended' || result.outcome === 'by hand';
        add(result);
      }
    } finally {
      await migrator.stop();
    }
    return well;
  }

  async function attempt(finding: Finding, tools: Tools, stop: string | undefined): Promise<RepairResult> {
    if (finding.repair === 'by hand') return { finding, outcome: 'by hand' };
    if (stop !== undefined) return { finding, outcome: 'skipped', error: stop };
    try {
      await mend(finding, tools);
      return { finding, outcome: 'mended' };
    } catch (error) {
      const offenders = isRefused(error) ? await offendersOf(finding, tools).catch(() => []) : [];
      return {
        ...{ finding, outcome: 'failed', error: told(error) },
        ...(offenders.length === 0 ? {} : { offenders }),
      };
    }
  }

  const offendersOf = (finding: Finding, { migrator }: Tools) =>
    findOffenders({ database, migrator }, finding);

  async function mend(finding: Finding, tools: Tools): Promise<void> {
    const last = finding.mend.at(-1);
    for (const step of finding.mend) {
      // Validation itself looks at rows as tenantry_owner, on whom the policies are forced: it sees none, and finds all
      // well. That the constraint is there, validated or not, keeps new rows from breaking it.
      if (step.validates === true && isReference(finding) && (await offendersOf(finding, tools)).length > 0) {
        throw new Refused('rows refer to what is not there');
      }
      const audit = step === last ? auditOf(finding, tools.author) : undefined;
      await climbLadder({
        ladder: step.outside === true ? ladders.patient : ladders.lock,
        signal: tools.lease.lost,
        attempt: ({ timeoutMs }) =>
          step.outside === true
            ? build(finding, step, tools, timeoutMs)
            : change(finding, step.statements, tools, timeoutMs, audit),
      });
      if (step.outside === true && audit !== undefined) await database.write(audit);
    }
  }

  return { repair };
}

interface Tools {
  migrator: Migrator;
  lease: Lease;
  author: Author;
}

/** Nobody else migrates, moves or drops the schema meanwhile. */
async function change(
  { schema }: Finding,
  statements: readonly string[],
  { migrator, lease }: Tools,
  lockTimeoutMs: number,
  audit?: (session: WriteSession) => Promise<void>,
): Promise<void> {
  await migrator.inSchema(
    schemaName(schema),
    async (work) => {
      const { leased } = await work.survey(lease.run);
      if (!leased) throw new Error('Another runner has taken the lease over.');
      const session = await work.session();
      for (const statement of statements) await session.query(statement, [], {}, 'drift.repair');
      await audit?.(session);
    },
    { lockTimeoutMs, idleMs: 30_000 },
  );
}

/** What a build that fails has left is dropped: it would be kept up to date by every write, and answer nobody. */
async function build(
  finding: Finding,
  { statements, index }: Mend,
  tools: Tools,
  lockTimeoutMs: number,
): Promise<void> {
  await change(finding, [], tools, lockTimeoutMs);
  const schema = schemaName(finding.schema);
  await tools.migrator.outside(schema, async (client) => {
    await client.query(`set lock_timeout = ${lockTimeoutMs}; set statement_timeout = 0`);
    try {
      for (const statement of statements) await client.query(statement);
    } catch (error) {
      const { rowCount } = await client.query(
        `select from pg_index i join pg_class c on c.oid = i.indexrelid
         where c.relnamespace = to_regnamespace(quote_ident($1)) and c.relname = $2 and not i.indisvalid`,
        [schema, index ?? null],
      );
      // Where this fails, too, the next drift names it.
      if (rowCount !== 0) await client.query(`drop index concurrently "${index}"`).catch(() => undefined);
      throw error;
    }
  });
}

function auditOf({ schema, kind, object, name, mend, words }: Finding, author: Author) {
  return async (session: WriteSession): Promise<void> => {
    const [tenant] = await session.query<{ id: string }>(
      `select id from control.tenants where schema_name = $1 and isolation = 'schema'`,
      [schema],
    );
    await recordPlatformEvent(session, author, {
      ...{ action: 'migrations.repair', resource: 'schemas' },
      ...(tenant === undefined ? {} : { tenantId: tenant.id }),
      after: {
        ...{ schema, kind, object, name, found: saidOf({ schema, words }) },
        statements: mend.flatMap(({ statements }) => statements),
      },
    });
  };
}

function stopped({ lost, wanted }: Lease, signal: AbortSignal | undefined): string | undefined {
  if (lost.aborted) return (lost.reason as Error).message;
  if (wanted() !== 'run') return 'the repair was asked to stop';
  return signal?.aborted === true ? 'the repair was interrupted' : undefined;
}

/** Rows that are there stand against it. */
class Refused extends Error {}

const isRefused = (error: unknown) =>
  error instanceof Refused || sqlStateOf(error)?.startsWith('23') === true;

function told(error: unknown): string {
  const { message, detail } = sourceOf(error);
  return detail === undefined ? message : `${message} (${detail})`;
}

/** PostgreSQL's own words, where there are any. */
function sourceOf(error: unknown): { message: string; detail?: string } {
  return (error instanceof AppError ? (error.cause ?? error) : error) as Error;
}

/** Schemas as they come; of each, what keeps tenants apart first, and references after what they refer to. */
export function inOrder(findings: readonly Finding[]): Finding[] {
  const places = new Map<string, number>();
  for (const { schema } of findings) if (!places.has(schema)) places.set(schema, places.size);
  const placeOf = ({ schema }: Finding) => places.get(schema) ?? 0;
  return findings.toSorted((a, b) => placeOf(a) - placeOf(b) || rankOf(a) - rankOf(b));
}

const ranks: readonly Finding['object'][] = [
  'row security',
  'policy',
  'grant',
  'version',
  'ledger',
  'default',
  'index',
];

function rankOf({ object, expected = '' }: Finding): number {
  const rank = ranks.indexOf(object);
  if (rank >= 0) return rank;
  return ranks.length + (expected.startsWith('FOREIGN KEY') ? 1 : 0);
}

/** What repair() would execute, for psql; what is by hand as comments. */
export function repairScript(findings: readonly Finding[]): string[] {
  const lines: string[] = [];
  let schema: string | undefined;
  for (const finding of inOrder(findings)) {
    if (finding.schema !== schema) lines.push(`set search_path = "${finding.schema}", pg_temp;`);
    schema = finding.schema;
    const note = finding.repair === 'by hand' ? ', by hand' : '';
    lines.push(`-- ${finding.words}${note}`);
    const statements = finding.mend.flatMap((step) => step.statements.map((statement) => `${statement};`));
    lines.push(
      ...statements.flatMap((text) => (note === '' ? [text] : text.split('\n').map((line) => `-- ${line}`))),
    );
  }
  return lines;
}
