/** A `.cpuprofile` of V8, as text: which room or package the time went to. */
export interface CpuProfile {
  nodes: ProfileNode[];
  /** Microseconds of the monotonic clock. */
  startTime: number;
  samples: number[];
  /** Microseconds since the sample before. */
  timeDeltas: number[];
}

interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; lineNumber: number };
  children?: number[];
}

/** Shares are of the time in which the process was not idle. */
export interface Spending {
  /** Not idle, as a share of all time. */
  busy: number;
  /** In the room's own code (`self`), and with what Node and V8 did for it (`total`). */
  rooms: { room: string; self: number; total: number }[];
  functions: { name: string; room: string; self: number }[];
}

const idle = '(idle)';

/** @param from to @param to microseconds of the monotonic clock: only what was sampled between them counts */
export function spendingOf(profile: CpuProfile, from: number, to: number): Spending {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const parentOf = new Map(
    profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id] as const)),
  );
  const [self, total, functions] = [
    new Map<string, number>(),
    new Map<string, number>(),
    new Map<string, number>(),
  ];
  let [busyUs, idleUs, now] = [0, 0, profile.startTime];
  profile.samples.forEach((id, index) => {
    const us = profile.timeDeltas[index] ?? 0;
    now += us;
    const node = byId.get(id);
    if (node === undefined || now < from || now > to) return;
    if (node.callFrame.functionName === idle) {
      idleUs += us;
      return;
    }
    busyUs += us;
    const room = roomOf(node);
    add(self, room, us);
    add(total, clientOf(node), us);
    add(functions, `${nameOf(node)}\0${room}`, us);
  });

  /** The nearest caller that is neither Node nor V8: the one for whom this was done. */
  function clientOf(node: ProfileNode): string {
    let at: ProfileNode | undefined = node;
    while (at !== undefined) {
      const room = roomOf(at);
      if (!isRuntime(room)) return room;
      at = byId.get(parentOf.get(at.id) ?? -1);
    }
    return roomOf(node);
  }

  const rooms = [...new Set([...self.keys(), ...total.keys()])].map((room) => ({
    room,
    self: (self.get(room) ?? 0) / busyUs,
    total: (total.get(room) ?? 0) / busyUs,
  }));
  return {
    busy: busyUs / (busyUs + idleUs),
    rooms: rooms.toSorted((a, b) => b.total - a.total),
    functions: [...functions]
      .map(([key, us]) => {
        const [name = '', room = ''] = key.split('\0');
        return { name, room, self: us / busyUs };
      })
      .toSorted((a, b) => b.self - a.self),
  };
}

/** `src/db`, `bench/opponents`, the name of a package, `node:net`, or `V8` for what has no source. */
function roomOf({ callFrame: { url, functionName } }: ProfileNode): string {
  if (url === '') return functionName === '(garbage collector)' ? 'V8: garbage collector' : 'V8: native code';
  if (url.startsWith('node:'))
    return `node:${url.replace('node:internal/', '').replace('node:', '').split('/')[0]}`;
  const ours = /\/bench\/dist\/((?:src|bench)\/[^/]+)/.exec(url)?.[1];
  if (ours !== undefined) return ours.replace(/\.js$/, '');
  return /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? url;
}

function isRuntime(room: string): boolean {
  return room.startsWith('node:') || room.startsWith('V8');
}

function nameOf({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const file = url.split('/').at(-1) ?? '';
  return `${functionName || '(anonymous)'}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`;
}

function add(sums: Map<string, number>, key: string, us: number): void {
  sums.set(key, (sums.get(key) ?? 0) + us);
}
