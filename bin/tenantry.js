#!/usr/bin/env node
import { existsSync } from 'node:fs';

// A clone runs from source, an image, which has no sources, from its build.
const source = new URL('../src/cli/main.ts', import.meta.url);
if (existsSync(source)) {
  const { register } = await import('tsx/esm/api');
  register();
  await import(source.href);
} else {
  await import('../dist/src/cli/main.js');
}
