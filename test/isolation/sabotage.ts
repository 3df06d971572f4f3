import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

/**
 * `npm run test:sabotage [-- --only policy] [-- --all]`: takes one protection after another out of a copy of this
 * repository, runs the tests that should notice, and prints which of them failed. Exit code 1 when one of them did not.
 * With `--all` the whole of test/isolation runs, to see who else notices.
 */
interface Sabotage {
  what: string;
  edits: readonly Edit[];
  /** Files of test/isolation of which at least one test must fail. */
  noticedBy: readonly string[];
}

interface Edit {
  file: string;
  /** What is written instead. Each must be found. */
  replace: readonly [RegExp, string][];
}

const kernel = (...replace: Edit['replace']): Edit => ({ file: 'src/db/table.ts', replace });
const stamp = (...replace: Edit['replace']): Edit => ({ file: 'migrations/tenant-table.ts', replace });
const noWhere = kernel(
  [/(t\.)?tenant_id = \$1/g, '$1::uuid is not null'],
  [
    /\.where\(\{ tenant_id: tenantOf\(session\) \}\)/g,
    ".whereRaw('?::uuid is not null', [tenantOf(session)])",
  ],
);
const noPolicy = stamp(
  [/using \(tenant_id = [^`]*?::uuid\)/, 'using (true)'],
  [/with check \(tenant_id = [^`]*?::uuid\)/, 'with check (true)'],
);

const sabotages: Readonly<Record<string, Sabotage>> = {
  where: {
    what: 'the tenant in the statements of the kernel',
    edits: [noWhere],
    noticedBy: ['repositories', 'tables', 'services', 'plans'],
  },
  policy: {
    what: 'the policy (it lets everything pass)',
    edits: [noPolicy],
    noticedBy: ['catalog', 'rls', 'connections'],
  },
  both: {
    what: 'the tenant in the statements, and the policy',
    edits: [noWhere, noPolicy],
    noticedBy: ['model', 'at-once', 'routes', 'lists', 'tables', 'plans'],
  },
  force: {
    what: 'FORCE ROW LEVEL SECURITY',
    edits: [stamp([/`alter table \$\{name\} force row level security`,/, ''])],
    noticedBy: ['catalog', 'rls'],
  },
  'foreign-key': {
    what: 'the composite foreign keys',
    edits: [stamp([/Object\.entries\(references\)/, 'Object.entries({})'])],
    noticedBy: ['catalog', 'rls', 'tables'],
  },
  unique: {
    what: 'the tenant in unique indexes',
    edits: [
      stamp([/_key on \$\{name\} \(\$\{\['tenant_id', \.\.\.parts\]/, '_key on ${name} (${[...parts]']),
    ],
    noticedBy: ['catalog', 'model'],
  },
  header: {
    what: 'the comparison of X-Tenant-ID with the credential',
    edits: [
      {
        file: 'src/http/resolve-tenant.ts',
        replace: [
          [/if \(named !== undefined && named !== tenant\.slug && named !== tenant\.id\)/, 'if (false)'],
        ],
      },
    ],
    noticedBy: ['routes', 'credentials'],
  },
  deleted: {
    what: '`deleted_at is null` in the statements of the kernel',
    edits: [kernel([/ and (t\.)?deleted_at is null(?=[`\s])/g, ''], [/\n *\.whereNull\('deleted_at'\)/, ''])],
    noticedBy: ['repositories', 'tables', 'model', 'deletion'],
  },
  context: {
    what: 'the end of the tenant setting with its transaction',
    edits: [
      {
        file: 'src/db/scope.ts',
        replace: [[/set_config\('app\.tenant_id', \$1, true\)/, "set_config('app.tenant_id', $1, false)"]],
      },
    ],
    noticedBy: ['connections', 'at-once'],
  },
};

interface Outcome {
  testResults: { name: string; message: string; assertionResults: { status: string; fullName: string }[] }[];
}

const { values } = parseArgs({
  options: { only: { type: 'string' }, all: { type: 'boolean', default: false } },
});
const chosen = Object.entries(sabotages).filter(
  ([name]) => values.only === undefined || values.only === name,
);
if (chosen.length === 0) throw new Error(`--only ${Object.keys(sabotages).join(' | ')}`);
const repository = path.resolve(import.meta.dirname, '../..');
const copied = [
  'src',
  'test',
  'migrations',
  'seeds',
  'cluster',
  'package.json',
  'jest.config.js',
  'tsconfig.json',
  'tsconfig.build.json',
];
const say = (line: string): void => void process.stdout.write(`${line}\n`);

for (const [name, sabotage] of chosen) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'tenantry-sabotage-'));
  try {
    for (const part of copied)
      await cp(path.join(repository, part), path.join(folder, part), { recursive: true });
    await symlink(path.join(repository, 'node_modules'), path.join(folder, 'node_modules'));
    for (const edit of sabotage.edits) await apply(edit, folder);
    report(name, sabotage, await run(sabotage, folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function apply({ file, replace }: Edit, folder: string): Promise<void> {
  const target = path.join(folder, file);
  let text = await readFile(target, 'utf8');
  for (const [found, instead] of replace) {
    const changed = text.replace(found, () => instead);
    if (changed === text) throw new Error(`${file} has nothing like ${found.source} any more`);
    text = changed;
  }
  await writeFile(target, text);
}

async function run({ noticedBy }: Sabotage, folder: string): Promise<Outcome> {
  const output = path.join(folder, 'outcome.json');
  const tests = values.all ? ['test/isolation'] : noticedBy.map((file) => `test/isolation/${file}.test.ts`);
  const jest = path.join(folder, 'node_modules/jest/bin/jest.js');
  const args = [
    '--experimental-vm-modules',
    '--no-warnings',
    jest,
    ...tests,
    '--json',
    `--outputFile=${output}`,
  ];
  const child = spawn(process.execPath, args, { cwd: folder, stdio: 'ignore' });
  await once(child, 'exit');
  return JSON.parse(await readFile(output, 'utf8')) as Outcome;
}

function report(name: string, { what, noticedBy }: Sabotage, { testResults }: Outcome): void {
  say(`\n${name}: without ${what}`);
  const noticed = new Set<string>();
  for (const { name: file, message, assertionResults } of testResults) {
    const short = path.basename(file, '.test.ts');
    const failed = assertionResults.filter(({ status }) => status === 'failed');
    const broken = failed.length === 0 && message !== '';
    if (failed.length > 0) noticed.add(short);
    if (failed.length > 0 || broken)
      say(`  ${short}: ${failed.length} of ${assertionResults.length} tests fail`);
    if (broken) say(`    did not run: ${message.slice(0, 500)}`);
    for (const { fullName } of failed.slice(0, 3)) say(`    ${fullName.replaceAll(/\s+/g, ' ')}`);
  }
  for (const file of noticedBy.filter((each) => !noticed.has(each))) {
    say(`  NOT NOTICED by ${file}`);
    process.exitCode = 1;
  }
}
