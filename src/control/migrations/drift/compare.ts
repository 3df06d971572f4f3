import type { Catalog, Entry } from './entry.ts';
import type { Finding } from './finding.ts';
import { mendOf } from './mending.ts';
import { wordsOf } from './words.ts';

/** What of a schema is not as in the template of its version: pure. Of what is missing or extra, no parts are named. */
export function compare(schema: string, expected: Catalog, found: Catalog): Finding[] {
  const findings: Finding[] = [];
  for (const [key, entry] of expected) {
    const other = found.get(key);
    if (other === undefined) {
      if (entry.under === undefined || found.has(entry.under)) tell('missing', entry, undefined);
    } else if (other.definition !== entry.definition || other.flaw !== entry.flaw) {
      tell('different', entry, other);
    }
  }
  for (const [key, entry] of found) {
    if (!expected.has(key) && (entry.under === undefined || expected.has(entry.under))) {
      tell('extra', undefined, entry);
    }
  }
  return findings;

  function tell(kind: Finding['kind'], wanted: Entry | undefined, there: Entry | undefined): void {
    const { object, name } = (wanted ?? there) as Entry; // one of both is there
    const difference = { kind, object, expected: wanted, found: there };
    findings.push({
      schema,
      kind,
      object,
      name,
      ...(wanted === undefined ? {} : { expected: full(wanted) }),
      ...(there === undefined ? {} : { found: full(there) }),
      ...mendOf(schema, difference, { expected, found }),
      words: `${schema}: ${wordsOf(difference)}`,
    });
  }
}

const full = ({ definition, flaw }: Entry) => (flaw === undefined ? definition : `${definition} (${flaw})`);

/** The two sides of a finding; of `different` both are there, else one. */
export interface Difference {
  kind: Finding['kind'];
  object: Entry['object'];
  expected: Entry | undefined;
  found: Entry | undefined;
}
