import { InvalidArgumentError } from 'commander';

/** One resource in the spellings of the places where it is named. */
export interface Names {
  /** As in its path and folder: `credit-notes`. */
  path: string;
  /** `credit_notes` */
  table: string;
  /** `creditNotes` */
  many: string;
  /** `creditNote` */
  one: string;
  /** `CreditNote` and `CreditNotes`. */
  One: string;
  Many: string;
  /** `credit note` */
  words: string;
}

const keptWords = new Set(['bulk', 'index', 'me', 'auth', 'docs', 'openapi', 'control', 'sessions']);

/** @throws InvalidArgumentError */
export function namesOf(path: string): Names {
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*s$/.test(path) || path.length > 40 || keptWords.has(path)) {
    throw new InvalidArgumentError('A plural is needed, such as invoices or credit-notes.');
  }
  const singular = path.replace(/ies$/, 'y').replace(/([^y])s$/, '$1');
  const camel = (text: string) => text.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
  const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
  const [one, many] = [camel(singular), camel(path)];
  if (one === many) throw new InvalidArgumentError('A plural is needed, such as invoices or credit-notes.');
  return {
    path,
    table: path.replaceAll('-', '_'),
    ...{ one, many, One: capital(one), Many: capital(many) },
    words: singular.replaceAll('-', ' '),
  };
}
