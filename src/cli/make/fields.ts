import { InvalidArgumentError } from 'commander';
import { AppError } from '../../errors.ts';

/** A field as it is asked for on the command line: `number:text:unique`, `totalCents:money`, `note?:text`. */
export interface Field {
  name: string;
  kind: Kind;
  nullable: boolean;
  /** Of live rows of a tenant. */
  unique: boolean;
}

/** How a kind of field is written in a schema and in a migration, and a value of it. */
interface KindText {
  zod: string;
  column: (name: string) => string;
  sample: (mark: string) => string;
}

const kinds = {
  text: {
    zod: 'z.string().trim().min(1).max(200)',
    column: (name) => `table.text('${name}')`,
    sample: (mark) => (/^\d+$/.test(mark) ? `'text ${mark}'` : `\`text \${${mark}}\``),
  },
  integer: {
    zod: 'z.int().min(0).max(1_000_000_000)',
    column: (name) => `table.integer('${name}')`,
    sample: (mark) => mark,
  },
  /** Minor units. */
  money: {
    zod: 'z.int().min(0).max(1_000_000_000_000)',
    column: (name) => `table.bigInteger('${name}')`,
    sample: (mark) => mark,
  },
  time: {
    zod: 'z.iso.datetime({ offset: true })',
    column: (name) => `table.timestamp('${name}')`,
    sample: () => `'2030-01-31T12:00:00Z'`,
  },
} as const satisfies Record<string, KindText>;

export type Kind = keyof typeof kinds;

const taken = new Set(['id', 'version', 'createdAt', 'updatedAt', 'deletedAt', 'deletionId', 'tenantId']);

/** @throws InvalidArgumentError */
export function fieldOf(text: string, earlier: readonly Field[] = []): Field[] {
  const [, name = '', optional, kind = '', unique] =
    /^([a-z][A-Za-z0-9]{0,40})(\?)?:([a-z]+)(:unique)?$/.exec(text) ?? [];
  if (!Object.hasOwn(kinds, kind)) {
    throw new InvalidArgumentError(
      `${text} is no field: name:kind, name?:kind or name:kind:unique, with one of ${Object.keys(kinds).join(', ')}.`,
    );
  }
  if (taken.has(name)) throw new InvalidArgumentError(`Every resource has a field ${name} already.`);
  if (earlier.some((field) => field.name === name)) {
    throw new InvalidArgumentError(`${name} stands there twice.`);
  }
  if (unique !== undefined && (kind !== 'text' || optional !== undefined)) {
    throw new InvalidArgumentError(`${name}: only a text that is never null can be unique.`);
  }
  const field = { name, kind: kind as Kind, nullable: optional !== undefined, unique: unique !== undefined };
  return [...earlier, field];
}

export const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const zodOf = ({ kind, nullable }: Field) => `${kinds[kind].zod}${nullable ? '.nullable()' : ''}`;

export const columnOf = ({ name, kind, nullable }: Field) =>
  `${kinds[kind].column(snake(name))}${nullable ? '' : '.notNullable()'};`;

/** @param mark a number, or an expression of one, that tells rows apart */
export const sampleOf = ({ kind }: Field, mark: string) => kinds[kind].sample(mark);

/** One that several rows may have alike, which tests change. @throws AppError invalid_input */
export const changeable = (fields: readonly Field[]) =>
  need(
    fields.find(({ unique }) => !unique),
    'that is not unique',
  );

/** One by which tests tell rows apart. @throws AppError invalid_input */
export const telling = (fields: readonly Field[]) =>
  need(fields.find(({ unique }) => unique) ?? fields.find(({ kind }) => kind !== 'time'), 'that is no time');

function need(field: Field | undefined, words: string): Field {
  if (field === undefined) throw new AppError('invalid_input', `One field at least is needed ${words}.`);
  return field;
}
