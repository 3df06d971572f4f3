import type { ClientBase } from 'pg';
import { serialize } from 'pg-protocol';
import { prepareValue } from 'pg/lib/utils.js';
import { getTypeParser } from './types.ts';

/**
 * Several statements in one round trip: they are sent in one write and answered together, under a single Sync. Without
 * a BEGIN among them they are one implicit transaction, which ends at the Sync; with one they are a part of it. When a
 * statement fails, PostgreSQL leaves out all that follow.
 *
 * A query object on node-postgres' public `submit` interface. There must be exactly one Sync: the client takes the first
 * ReadyForQuery for the end of it. pg's own pipeline mode was rejected: it refuses other query objects, destroys the
 * connection on a time-out, and a BEGIN that fails does not stop what is behind it.
 */
export interface Step {
  text: string;
  values?: readonly unknown[];
  /** For people: what logs and traces call it. */
  name?: string;
}

export type Row = Record<string, unknown>;

/** What came of one step. */
export interface StepResult {
  rows: Row[];
  /** PostgreSQL's word for what it did, such as `SELECT 1` or `ROLLBACK`. */
  command: string;
}

/**
 * @param prepared statements are parsed once per connection
 * @throws the error of the first step that fails, with `step` (counted from 0) added to what PostgreSQL says
 */
export function runBatch(
  client: ClientBase,
  steps: readonly Step[],
  prepared: boolean,
): Promise<StepResult[]> {
  return new Promise((resolve, reject) => {
    const batch = new Batch(steps, prepared);
    // The client puts a callback of its own around this one when it guards the query with a time-out.
    batch.callback = (error, result) => (error === null ? resolve(result ?? []) : reject(error));
    client.query(batch as never); // pg's types know of no custom query object
  });
}

/** What a connection knows of a statement. */
interface Known {
  name: string;
  /** Undefined until PostgreSQL has described it, null when it returns no rows. */
  columns: Columns | null | undefined;
  parsed: boolean;
}

interface Columns {
  names: string[];
  parsers: ((value: string) => unknown)[];
}

interface Connection {
  stream: { write(data: Buffer): boolean };
}

const knownByConnection = new WeakMap<object, Map<string, Known>>();
/** PostgreSQL counts the values of a statement in 16 bits. */
const maxValues = 65_535;
/** A statement with a dynamic part must not fill the memory of every connection: beyond this they are not kept. */
const maxKnown = 1000;

const executeMessage = serialize.execute();
const syncMessage = serialize.sync();
const describePortal = serialize.describe({ type: 'P' });

class Batch {
  callback: (error: Error | null, result?: StepResult[]) => void = () => undefined;
  readonly #steps: readonly Step[];
  readonly #prepared: boolean;
  readonly #statements: Known[] = [];
  readonly #parsing = new Set<Known>();
  readonly #result: StepResult[] = [];
  #rows: Row[] = [];
  #failed = false;
  #unreadable: Error | null = null;

  constructor(steps: readonly Step[], prepared: boolean) {
    this.#steps = steps;
    this.#prepared = prepared;
  }

  submit(connection: Connection): Error | null {
    const messages: Buffer[] = [];
    try {
      for (const step of this.#steps) this.#write(connection, step, messages);
    } catch (error) {
      return error as Error; // a value that cannot be sent; nothing has been
    }
    messages.push(syncMessage);
    connection.stream.write(Buffer.concat(messages));
    return null;
  }

  #write(connection: Connection, { text, values = [] }: Step, messages: Buffer[]): void {
    if (values.length > maxValues) throw new RangeError(`A statement takes ${maxValues} values at most`);
    const statement = this.#statement(connection, text);
    this.#statements.push(statement);
    if (!statement.parsed && !this.#parsing.has(statement)) {
      this.#parsing.add(statement);
      messages.push(serialize.parse({ name: statement.name, text, types: [] }));
    }
    messages.push(
      serialize.bind({ statement: statement.name, values: [...values], valueMapper: prepareValue }),
    );
    if (statement.columns === undefined) messages.push(describePortal);
    messages.push(executeMessage);
  }

  #statement(connection: Connection, text: string): Known {
    const unnamed = { name: '', columns: undefined, parsed: false };
    if (!this.#prepared) return unnamed;
    const known = knownByConnection.get(connection) ?? new Map<string, Known>();
    knownByConnection.set(connection, known);
    const found = known.get(text);
    if (found !== undefined) return found;
    if (known.size >= maxKnown) return unnamed;
    const made = { name: `t${known.size}`, columns: undefined, parsed: false };
    known.set(text, made);
    return made;
  }

  #current(): Known | undefined {
    return this.#statements[this.#result.length];
  }

  handleRowDescription({ fields }: { fields: { name: string; dataTypeID: number }[] }): void {
    const statement = this.#current();
    if (statement === undefined) return;
    statement.parsed = statement.name !== '';
    statement.columns = {
      names: fields.map((field) => field.name),
      parsers: fields.map((field) => getTypeParser(field.dataTypeID)),
    };
  }

  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    const columns = this.#current()?.columns;
    if (!columns) return;
    try {
      this.#rows.push(rowOf(columns, fields));
    } catch (error) {
      // Thrown from here it would end the process: the socket called us.
      this.#unreadable ??= error as Error;
    }
  }

  handleCommandComplete({ text }: { text: string }): void {
    const statement = this.#current();
    if (statement !== undefined) {
      statement.parsed = statement.name !== '';
      statement.columns ??= null;
    }
    this.#result.push({ rows: this.#rows, command: text });
    this.#rows = [];
  }

  handleEmptyQuery(): void {
    this.handleCommandComplete({ text: '' });
  }

  handleError(error: Error, connection: Connection): void {
    if (this.#failed) return;
    this.#failed = true;
    // Whether the failed statement was parsed before it failed is not told: it gets another name the next time.
    const step = this.#result.length;
    const statement = this.#current();
    const text = this.#steps[step]?.text;
    if (statement !== undefined && !statement.parsed && statement.name !== '' && text !== undefined) {
      const known = knownByConnection.get(connection);
      known?.delete(text);
      known?.set(`${text} -- ${statement.name} is spent`, statement);
    }
    this.callback(Object.assign(error, { step }));
  }

  handleReadyForQuery(): void {
    if (!this.#failed) this.callback(this.#unreadable, this.#result);
  }

  handlePortalSuspended(): void {}

  handleCopyInResponse(connection: { sendCopyFail(message: string): void; sync(): void }): void {
    connection.sendCopyFail('COPY is not part of a batch');
    // COPY has swallowed the Sync when that was next. Any other message is the end of the connection.
    if (this.#result.length === this.#steps.length - 1) connection.sync();
  }

  handleCopyData(): void {}
}

function rowOf({ names, parsers }: Columns, fields: readonly (string | null)[]): Row {
  const row: Row = {};
  for (const [index, name] of names.entries()) {
    const text = fields[index];
    const parse = parsers[index];
    row[name] = text === undefined || text === null || parse === undefined ? null : parse(text);
  }
  return row;
}
