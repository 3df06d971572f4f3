import { type Operation, parseValue } from './operation.ts';

/** Holds a history against what was promised. No input or output; what is right is decided by order alone. */
export type Rule =
  | 'a session reads what it wrote'
  | 'a session never goes back in time'
  | 'no acknowledged write is lost'
  | 'nothing that was read is lost'
  | 'no value of another tenant or register'
  | 'no value that nobody wrote';

export interface Violation {
  rule: Rule;
  /** What broke it; absent when the end state did. */
  operation?: Operation;
  /** What it should have known of. */
  earlier?: Operation;
  text: string;
}

export interface Checker {
  /** A write is about to be sent: from now on it may be read. */
  begin(write: Operation): void;
  /** An operation has ended. Those of one session must come in their order. */
  end(operation: Operation): Violation[];
  /** @param registers what the primary holds when all is healed; `<tenant>/<register>` → value */
  finish(registers: ReadonlyMap<string, string>): Violation[];
}

interface Known {
  number: number;
  operation: Operation;
}

interface Register {
  /** The highest number sent. */
  sent: number;
  refused: Set<number>;
  acknowledged: Known | undefined;
  read: Known | undefined;
}

export function createChecker(): Checker {
  const registers = new Map<string, Register>();
  /** What a session knows of a register: the newest that it wrote with success, and the newest that it read. */
  const wrote = new Map<string, Known>();
  const saw = new Map<string, Known>();

  function registerOf({ tenant, register }: Operation): Register {
    const key = `${tenant}/${register}`;
    const found = registers.get(key) ?? {
      sent: 0,
      refused: new Set(),
      acknowledged: undefined,
      read: undefined,
    };
    registers.set(key, found);
    return found;
  }

  function endWrite(operation: Operation): void {
    const number = numberOf(operation.value);
    const register = registerOf(operation);
    if (operation.outcome === 'refused') register.refused.add(number);
    if (operation.outcome !== 'ok') return;
    register.acknowledged = newer(register.acknowledged, { number, operation });
    wrote.set(keyOf(operation), { number, operation });
  }

  function endRead(operation: Operation): Violation[] {
    if (operation.outcome !== 'ok') return [];
    const register = registerOf(operation);
    const odd = oddity(operation.value, operation.tenant, operation.register, register);
    if (odd !== undefined) return [{ ...odd, operation }];
    const number = numberOf(operation.value);
    const key = keyOf(operation);
    const found: Violation[] = [];
    const own = wrote.get(key);
    if (own !== undefined && number < own.number) {
      found.push({
        rule: 'a session reads what it wrote',
        operation,
        earlier: own.operation,
        text: `wrote ${own.number}, read ${number}`,
      });
    }
    const seen = saw.get(key);
    if (seen !== undefined && number < seen.number) {
      found.push({
        rule: 'a session never goes back in time',
        operation,
        earlier: seen.operation,
        text: `read ${seen.number}, then ${number}`,
      });
    }
    saw.set(key, newer(seen, { number, operation }));
    register.read = newer(register.read, { number, operation });
    return found;
  }

  return {
    begin(write) {
      const register = registerOf(write);
      register.sent = Math.max(register.sent, numberOf(write.value));
    },
    end(operation) {
      if (operation.kind === 'read') return endRead(operation);
      endWrite(operation);
      return [];
    },
    finish(final) {
      return [...registers].flatMap(([key, register]) => {
        const text = final.get(key);
        const [tenant = '', name = ''] = key.split('/');
        const odd = oddity(text, tenant, name, register);
        if (odd !== undefined) return [odd];
        const number = numberOf(text);
        return [
          ...missing('no acknowledged write is lost', register.acknowledged, number),
          ...missing('nothing that was read is lost', register.read, number),
        ];
      });
    },
  };
}

/** Checks a whole history: operations in the order in which they ended. */
export function check(history: readonly Operation[], final: ReadonlyMap<string, string>): Violation[] {
  const checker = createChecker();
  // A value may be read before its writer is told of its success.
  for (const operation of history) if (operation.kind === 'write') checker.begin(operation);
  return [...history.flatMap((operation) => checker.end(operation)), ...checker.finish(final)];
}

function oddity(
  text: string | undefined,
  tenant: string,
  name: string,
  { sent, refused }: Register,
): Violation | undefined {
  if (text === undefined) return undefined;
  const value = parseValue(text);
  if (value !== undefined && (value.tenant !== tenant || value.register !== name)) {
    return { rule: 'no value of another tenant or register', text: `${tenant}/${name} held ${text}` };
  }
  if (value === undefined || value.number > sent || refused.has(value.number)) {
    return { rule: 'no value that nobody wrote', text: `${tenant}/${name} held ${text}` };
  }
  return undefined;
}

function missing(rule: Rule, known: Known | undefined, number: number): Violation[] {
  if (known === undefined || number >= known.number) return [];
  return [{ rule, earlier: known.operation, text: `${known.number} is gone: ${number} is left` }];
}

const keyOf = ({ session, tenant, register }: Operation): string => `${session} ${tenant}/${register}`;

function numberOf(text: string | undefined): number {
  return text === undefined ? 0 : (parseValue(text)?.number ?? 0);
}

function newer(known: Known | undefined, other: Known): Known {
  return known !== undefined && known.number >= other.number ? known : other;
}
