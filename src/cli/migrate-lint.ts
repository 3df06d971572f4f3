import { Command } from 'commander';
import { createLadder, type LadderName } from '../control/migrations/ladder.ts';
import { type Finding, lintLadder, objections } from '../control/migrations/lint.ts';
import { Exit, exitCodes, type Io, printJson } from './io.ts';

/** @param folder where the ladders are; the project's own by default */
export function lintCommand(io: Io, folder?: string): Command {
  return new Command('lint')
    .description(
      'Judge the migrations by their text, without a database. Exit code 1 when something is found.',
    )
    .option('--json', 'print JSON')
    .action(({ json }: { json?: boolean }) => lint(io, json ?? false, folder));
}

type Found = Finding & { ladder: LadderName };

async function lint(io: Io, json: boolean, folder: string | undefined): Promise<void> {
  const findings: Found[] = [];
  const warnings = new Set<string>();
  let steps = 0;
  for (const ladder of ['control', 'tenant'] as const) {
    const scripts = await createLadder(ladder, folder).scripts();
    const found = await lintLadder(scripts, { ladder, warn: (line) => warnings.add(line) });
    findings.push(...found.map((finding) => ({ ladder, ...finding })));
    steps += scripts.length;
  }
  for (const warning of warnings) io.note(warning);
  const refused = objections(findings).length;
  if (json) printJson(io, { steps, findings, warnings: [...warnings] });
  else print(io, findings, `${steps} steps: ${refused} found, ${findings.length - refused} allowed`);
  if (refused > 0) throw new Exit(exitCodes.error);
}

function print(io: Io, findings: readonly Found[], summary: string): void {
  for (const { ladder, step, rule, statement, message, help, allowed } of findings) {
    io.out(`${ladder}/${step}: ${rule}${allowed === undefined ? '' : ' (allowed)'}`);
    if (statement !== '') io.out(`  ${statement}`);
    io.out(`  ${message}`);
    if (allowed !== undefined) io.out(`  allowed: ${allowed}`);
    else if (help !== undefined) io.out(`  instead: ${help}`);
  }
  io.out(summary);
}
