import { afterEach, expect, it } from '@jest/globals';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { built, killChildren, start } from '../support/child.ts';
import { useFolder } from '../support/folder.ts';

const folder = useFolder();
afterEach(killChildren);

it('a migration is read again when its file has changed while the process lives', async () => {
  await mkdir(path.join(folder(), 'tenant'));
  await writeFile(path.join(folder(), 'package.json'), '{"type":"module"}\n');
  const child = start(built('test/support/reread-process.ts'), [folder()], { cwd: folder() });
  const { code, stdout, stderr } = await child.ended();
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toBe('create table draft (id int)\ncreate table final (id int)\n');
});
