import { randomBytes, randomInt } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';

/**
 * Uuids v7 (RFC 9562, section 6.2, method 1: a counter of 18 bits that begins anywhere in its lower half), in ascending order.
 * Of a library one by one they take 2.5 µs each, which is a third of all that a row of a bulk insert needs of the process;
 * these take a tenth of that.
 *
 * @param count up to 131,072
 */
export function batchIds(count: number): string[] {
  const start = uuidv7().slice(0, 15); // the time, and the version
  const random = randomBytes(7 * count).toString('hex');
  const first = randomInt(0x20000);
  return Array.from({ length: count }, (_, at) => {
    const counter = first + at;
    const high = (counter >> 6).toString(16).padStart(3, '0');
    const low = (0x80 | (counter & 0x3f)).toString(16);
    const from = 14 * at;
    return `${start}${high}-${low}${random.slice(from, from + 2)}-${random.slice(from + 2, from + 14)}`;
  });
}
