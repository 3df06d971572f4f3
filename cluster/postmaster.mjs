/**
 * Server processes as the operating system sees them: is this pid still the server of that data directory, and how is
 * it ended.
 *
 * JavaScript, not TypeScript, because the watchdog uses it too and is started by plain `node`, which on Node 20 cannot
 * strip types. The types are in postmaster.d.mts.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = process.platform === 'linux' ? 5 : 50; // elsewhere each look costs a run of `ps`
const FAST_SHUTDOWN_MS = 10_000;
const IMMEDIATE_SHUTDOWN_MS = 5_000;
const KILL_MS = 5_000;

const SERVER_PROGRAMS = new Set(['postgres', 'initdb']);

/** The words of a live process's command line; undefined when there is no such process, or only its zombie. */
function commandLine(pid) {
  if (process.platform === 'linux') {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
      return words.length > 0 ? words : undefined;
    } catch {
      return undefined;
    }
  }
  try {
    const text = execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], {
      encoding: 'utf8',
    }).trim();
    return text === '' || text.startsWith('(') ? undefined : [text.split(' ', 1)[0], text];
  } catch {
    return undefined;
  }
}

/** A postmaster works in its data directory, also after the directory was moved under it. Linux only. */
function workingFolder(pid) {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

export function serves(pid, dataDir) {
  const words = commandLine(pid);
  if (words === undefined || !SERVER_PROGRAMS.has(basename(words[0]))) return false;
  const named =
    process.platform === 'linux' ? words.includes(dataDir) : ` ${words[1]} `.includes(` ${dataDir} `);
  return named || workingFolder(pid) === dataDir;
}

export function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

function childrenOf(pid) {
  const rows =
    process.platform === 'linux'
      ? readdirSync('/proc')
          .filter((name) => /^\d+$/.test(name))
          .map((name) => [Number(name), parentOf(name)])
      : execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
          .split('\n')
          .map((row) => row.trim().split(/\s+/).map(Number));
  return rows.filter(([, parent]) => parent === pid).map(([child]) => child);
}

/** proc(5): the parent's pid is field 4, the second after the command name in parentheses. Linux only. */
function parentOf(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')[1]);
  } catch {
    return undefined;
  }
}

export function killWhole(pid) {
  const backends = childrenOf(pid);
  // The postmaster first: seeing a child die, it would begin a restart of its own.
  for (const each of [pid, ...backends]) signal(each, 'SIGKILL');
}

async function gone(servers, withinMs) {
  const deadline = Date.now() + withinMs;
  let left = servers;
  for (;;) {
    left = left.filter(({ pid, dataDir }) => serves(pid, dataDir));
    if (left.length === 0 || Date.now() > deadline) return left;
    await sleep(POLL_MS);
  }
}

export async function endServers(servers) {
  let left = servers;
  for (const [name, withinMs] of [
    ['SIGINT', FAST_SHUTDOWN_MS],
    ['SIGQUIT', IMMEDIATE_SHUTDOWN_MS],
    ['SIGKILL', KILL_MS],
  ]) {
    // Asked again before every signal: in the meantime the pid may have become somebody else's.
    left = left.filter(({ pid, dataDir }) => serves(pid, dataDir));
    for (const { pid } of left) {
      signal(pid, name);
      signal(pid, 'SIGCONT'); // a frozen server hears nothing
    }
    left = await gone(left, withinMs);
    if (left.length === 0) return;
  }
  throw new Error(`PostgreSQL would not end: process ${left.map(({ pid }) => pid).join(', ')}`);
}
