import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { type Parsed, shortened } from '../statements.ts';

/**
 * squawk knows what PostgreSQL does to a table while a statement runs, and what clients expect of one. It is a program:
 * npm brings the one of the platform, where there is one.
 */
export interface SquawkOptions {
  /** Where the program is; default: where npm has put it. */
  program?: string;
  /** The oldest PostgreSQL that the steps must do no harm on. Default 15. */
  pgVersion?: string;
  /** Told when its rules could not be applied, to all or to a statement. */
  warn?: (line: string) => void;
}

export interface SquawkStep {
  step: string;
  statements: readonly Parsed[];
  transactional: boolean;
}

export interface SquawkFinding {
  step: string;
  rule: string;
  at: Parsed;
  message: string;
  help: string | undefined;
}

/** All that squawk has to say of the steps, whether it counts or not. Nothing, with a warning, where it cannot run. */
export async function askSquawk(
  steps: readonly SquawkStep[],
  options: SquawkOptions = {},
): Promise<SquawkFinding[]> {
  const { warn = () => undefined } = options;
  if (steps.every(({ statements }) => statements.length === 0)) return [];
  try {
    const program = options.program ?? installed();
    const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-lint-'));
    try {
      const ask = { program, folder, pgVersion: options.pgVersion ?? '15', warn };
      const inside = steps.filter(({ transactional }) => transactional);
      const outside = steps.filter(({ transactional }) => !transactional);
      return [...(await readable(inside, ask, true)), ...(await readable(outside, ask, false))];
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  } catch (error) {
    warn(`squawk's rules were not applied, only our own: ${(error as Error).message}`);
    return [];
  }
}

/** @throws Error on a platform for which there is no program */
function installed(): string {
  const require = createRequire(import.meta.url);
  const platform = `${process.platform}-${process.arch}`;
  try {
    // squawk-cli needs it, not we: where npm does not lift it, it is found from there.
    const beside = createRequire(require.resolve('squawk-cli/package.json'));
    return beside.resolve(`@squawk-cli/${platform}/bin/squawk${process.platform === 'win32' ? '.exe' : ''}`);
  } catch {
    throw new Error(`there is no program of it for ${platform} (npm package @squawk-cli/${platform})`);
  }
}

interface Ask {
  program: string;
  folder: string;
  pgVersion: string;
  warn: (line: string) => void;
}

/** What it cannot read hides the rest of the step from it, so it is asked again without. */
async function readable(
  steps: readonly SquawkStep[],
  ask: Ask,
  inTransaction: boolean,
): Promise<SquawkFinding[]> {
  const found = await run(steps, ask, inTransaction);
  const unread = new Set(found.filter(({ rule }) => rule === 'syntax-error').map(({ at }) => at));
  if (unread.size === 0) return found;
  for (const { sql } of unread)
    ask.warn(`squawk cannot read, so only our own rules were applied to: ${shortened(sql)}`);
  const hidden = steps.filter(({ statements }) => statements.some((statement) => unread.has(statement)));
  const rest = hidden.map((step) => ({
    ...step,
    statements: step.statements.filter((item) => !unread.has(item)),
  }));
  const names = new Set(hidden.map(({ step }) => step));
  return [...found.filter(({ step }) => !names.has(step)), ...(await readable(rest, ask, inTransaction))];
}

interface Report {
  file: string;
  /** From 0. */
  line: number;
  line_end: number;
  column_end: number;
  message: string;
  help: string | null;
  rule_name: string;
}

/** A file a step, all in one process. */
async function run(steps: readonly SquawkStep[], ask: Ask, inTransaction: boolean): Promise<SquawkFinding[]> {
  const files = steps
    .filter(({ statements }) => statements.length > 0)
    .map((step) => ({ step, ...fileOf(step) }));
  if (files.length === 0) return [];
  const { program, folder, pgVersion } = ask;
  const names = files.map((_, index) => `${index}.sql`);
  for (const [index, { text }] of files.entries()) await writeFile(path.join(folder, `${index}.sql`), text);
  // Its own, so that none is looked for further up.
  await writeFile(path.join(folder, '.squawk.toml'), '');
  const text = await output(
    program,
    [
      ...['--reporter=json', `--pg-version=${pgVersion}`],
      ...[inTransaction ? '--assume-in-transaction' : '--no-assume-in-transaction', ...names],
    ],
    folder,
  );
  const reports = JSON.parse(text) as Report[];
  const findings = reports.flatMap((report) => {
    const file = files[Number.parseInt(report.file, 10)];
    const at = file?.step.statements[file.starts.findLastIndex((start) => start <= report.line)];
    if (file === undefined || at === undefined) return [];
    const { rule_name: rule, message, help } = report;
    return [{ step: file.step.step, rule, at, message, help: help ?? undefined, report }];
  });
  return findings.filter((finding) => !saidBetter(finding, findings));
}

/** The statements with the lines they begin at. */
function fileOf({ statements }: SquawkStep): { text: string; starts: number[] } {
  const starts: number[] = [];
  let lines = 0;
  // The semicolon on a line of its own: the statement may end in a comment.
  const text = statements.map(({ sql }) => {
    starts.push(lines);
    lines += sql.split('\n').length + 1;
    return `${sql}\n;\n`;
  });
  return { text: text.join(''), starts };
}

/** Found with every constraint, and for unique ones with advice that PostgreSQL does not know. */
const general = 'constraint-missing-not-valid';
const better: ReadonlySet<string> = new Set([
  ...['adding-foreign-key-constraint', 'disallowed-unique-constraint', 'adding-serial-primary-key-field'],
]);

type Found = SquawkFinding & { report: Report };

function saidBetter({ rule, at, report }: Found, all: readonly Found[]): boolean {
  return (
    rule === general &&
    all.some(
      (other) =>
        better.has(other.rule) &&
        other.at === at &&
        other.report.line_end === report.line_end &&
        other.report.column_end === report.column_end,
    )
  );
}

function output(program: string, args: readonly string[], cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const limits = { cwd, timeout: 30_000, maxBuffer: 256 * 1024 * 1024 };
    execFile(program, args, limits, (error, stdout, stderr) => {
      // 1: it has found something.
      if (error === null || error.code === 1) resolve(stdout);
      else reject(new Error(stderr.trim() || error.message));
    });
  });
}
