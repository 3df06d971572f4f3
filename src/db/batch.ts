import type { ClientBase } from 'pg';
import { serialize } from 'pg-protocol';
import { prepareValue } from 'pg/lib/utils.js';
import { isOutgrown, Unsendable } from './pg-errors.ts';
import { type Columns, forget, type Known, knownOn, preparedOn, renew, unnamed } from './prepared.ts';
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
  /** One that is sent again and again, with the same values: what is sent for it is made once. */
  constant?: Constant;
}

/** Made by `constant()`. */
interface Constant {
  /** What connections call the statement; of one text alone. */
  readonly statement: string;
  bytes: Buffer | undefined;
}

/** @param statement a name that no other text has; values may differ under it */
export function constant(statement: string, text: string, values: readonly unknown[] = []): Step {
  return { text, values, constant: { statement, bytes: undefined } };
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
    batch.callback = (error, result) => (error === null ? resolve(result ?? []) : reject(error));
    client.query(batch as never); // pg's types know of no custom query object
  });
}

/**
 * Batches that are sent in one write and carried out one after the other, each in a transaction of its own: what fails is
 * one batch. Only of those that `isQuick`: who comes last waits for all.
 */
export function runTrain(client: ClientBase, cars: readonly Car[]): void {
  const { connection } = client as unknown as { connection: Connection };
  const batches: Batch[] = [];
  for (const { steps, callback } of cars) {
    const batch = new Batch(steps, true);
    const error = batch.encode(connection);
    batch.callback = callback;
    if (error === null) batches.push(batch);
    else callback(error); // nothing of it has been sent
  }
  // The client is given one after the other, for it knows of one at a time; all are sent with the first.
  const give = (at: number): void => {
    const batch = batches[at];
    if (batch === undefined) return;
    batch.onward = () => give(at + 1);
    client.query(batch as never); // pg's types know of no custom query object
  };
  batches[0]?.takeAlong(batches);
  give(0);
}

export interface Car {
  steps: readonly Step[];
  callback: (error: Error | null, result?: StepResult[]) => void;
}

/** The connection has prepared all of these statements, and they have usually taken no longer than this so far. */
export function isQuick(client: ClientBase, steps: readonly Step[], withinMs: number): boolean {
  const { connection } = client as unknown as { connection: Connection };
  const known = knownOn(connection);
  if (known === undefined) return false;
  for (const { text } of steps) {
    const statement = known.get(text);
    if (statement?.columns === undefined || !statement.parsed || statement.usualMs > withinMs) return false;
  }
  return true;
}

/** What the connection learns from a batch that has been carried out. */
export function noteDuration(client: ClientBase, steps: readonly Step[], ms: number): void {
  const { connection } = client as unknown as { connection: Connection };
  const known = knownOn(connection);
  for (const { text, constant } of steps) {
    const statement = constant === undefined ? known?.get(text) : undefined;
    if (statement !== undefined) statement.usualMs += (ms - statement.usualMs) / 8;
  }
}

/** Of statements that read. */
export const quickMs = 5;

interface Connection {
  stream: { write(data: Buffer): boolean };
}

/** PostgreSQL counts the values of a statement in 16 bits. */
const maxValues = 65_535;

const noValues: readonly unknown[] = [];
const executeMessage = serialize.execute();
const syncMessage = serialize.sync();
const describePortal = serialize.describe({ type: 'P' });

class Batch {
  callback: (error: Error | null, result?: StepResult[]) => void = () => undefined;
  /** Called when the client is free for the next batch. */
  onward: (() => void) | undefined;
  readonly #steps: readonly Step[];
  readonly #prepared: boolean;
  readonly #statements: Known[] = [];
  #parsing: Known[] | undefined;
  readonly #result: StepResult[] = [];
  #rows: Row[] = [];
  #failed = false;
  #unreadable: Error | null = null;
  /** Undefined before `encode` and after it has been sent. */
  #messages: Buffer[] | undefined;
  #others: readonly Batch[] | undefined;
  #sent = false;

  constructor(steps: readonly Step[], prepared: boolean) {
    this.#steps = steps;
    this.#prepared = prepared;
  }

  /** @returns an error for a value that cannot be sent */
  encode(connection: Connection): Error | null {
    const messages: Buffer[] = [];
    try {
      for (const step of this.#steps) this.#write(connection, step, messages);
    } catch (error) {
      return new Unsendable((error as Error).message, { cause: error });
    }
    messages.push(syncMessage);
    this.#messages = messages;
    return null;
  }

  /** @param batches this one and others, which are sent when it is, and not when the client comes to them */
  takeAlong(batches: readonly Batch[]): void {
    this.#others = batches;
  }

  submit(connection: Connection): Error | null {
    if (this.#sent) return null;
    const error = this.#messages === undefined ? this.encode(connection) : null;
    if (error !== null) return error;
    const all = this.#others ?? [this];
    this.#others = undefined;
    connection.stream.write(Buffer.concat(all.flatMap((batch) => batch.#take())));
    return null;
  }

  #take(): Buffer[] {
    const messages = this.#messages ?? [];
    this.#messages = undefined;
    this.#sent = true;
    return messages;
  }

  #write(connection: Connection, { text, values = noValues, constant }: Step, messages: Buffer[]): void {
    if (values.length > maxValues) throw new RangeError(`A statement takes ${maxValues} values at most`);
    const statement = this.#prepared ? preparedOn(connection, text, constant?.statement) : unnamed();
    this.#statements.push(statement);
    if (statement.parsed && statement.columns !== undefined && statement.name === constant?.statement) {
      constant.bytes ??= Buffer.concat([bind(statement.name, values), executeMessage]);
      messages.push(constant.bytes);
      return;
    }
    if (!statement.parsed && !this.#parsing?.includes(statement)) {
      (this.#parsing ??= []).push(statement);
      messages.push(serialize.parse({ name: statement.name, text, types: [] }));
    }
    messages.push(bind(statement.name, values));
    if (statement.columns === undefined) messages.push(describePortal);
    messages.push(executeMessage);
  }

  #current(): Known | undefined {
    return this.#statements[this.#result.length];
  }

  handleRowDescription({ fields }: { fields: { name: string; dataTypeID: number }[] }): void {
    const statement = this.#current();
    if (statement === undefined) return;
    statement.parsed = statement.name !== '';
    const names = fields.map((field) => field.name);
    statement.columns = {
      names,
      parsers: fields.map((field) => getTypeParser(field.dataTypeID)),
      empty: Object.fromEntries(names.map((name) => [name, null])),
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
    this.onward?.(); // the client does not come back to a query that has failed
    const step = this.#result.length;
    const statement = this.#current();
    const text = this.#steps[step]?.text;
    let outgrown = false;
    if (statement !== undefined && statement.name !== '' && text !== undefined) {
      const reused = statement.parsed && !this.#parsing?.includes(statement);
      outgrown = reused && isOutgrown(error);
      if (outgrown) renew(connection, text, statement);
      else if (!statement.parsed) forget(connection, text, statement);
    }
    this.callback(Object.assign(error, { step, outgrown }));
  }

  handleReadyForQuery(): void {
    if (this.#failed) return;
    this.onward?.();
    this.callback(this.#unreadable, this.#result);
  }

  handlePortalSuspended(): void {}

  handleCopyInResponse(connection: { sendCopyFail(message: string): void; sync(): void }): void {
    connection.sendCopyFail('COPY is not part of a batch');
    // COPY has swallowed the Sync when that was next. Any other message is the end of the connection.
    if (this.#result.length === this.#steps.length - 1) connection.sync();
  }

  handleCopyData(): void {}
}

function bind(statement: string, values: readonly unknown[]): Buffer {
  // pg-protocol's type wants an array that it might change; it does not.
  return serialize.bind({ statement, values: values as unknown[], valueMapper: prepareValue });
}

/** Called for every row of every answer: an iterator would cost as much as the rest. */
function rowOf({ names, parsers, empty }: Columns, fields: readonly (string | null)[]): Row {
  const row = { ...empty };
  for (let index = 0; index < names.length; index += 1) {
    const text = fields[index];
    if (text !== null && text !== undefined) row[names[index] as string] = parsers[index]?.(text);
  }
  return row;
}
