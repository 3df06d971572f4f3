import bcrypt from 'bcrypt';
import pLimit from 'p-limit';
import { AppError } from '../errors.ts';

export interface Passwords {
  /** @throws AppError invalid_input over 72 bytes, which is all that bcrypt reads */
  hash(password: string): Promise<string>;
  /** Takes as long without a hash (an unknown user) as with one, and then says false. */
  verify(password: string, hash: string | undefined): Promise<boolean>;
}

export const maxPasswordBytes = 72;

/** As bcrypt is given it, in UTF-8. */
export function passwordBytes(password: string): number {
  return Buffer.byteLength(prepared(password));
}

/** One keyboard composes é and another does not; RFC 8265, section 4.2, makes them the same password. */
function prepared(password: string): string {
  return password.normalize('NFC');
}

/**
 * bcrypt works on libuv's four threads, which files, DNS and so new database connections need, too: 40 logins at once
 * held those up for a second. Two at a time hold up nothing.
 */
const atOnce = 2;

/** @param cost each step doubles the time; 12 takes about 0.2 s */
export function createPasswords(cost: number): Passwords {
  const limit = pLimit(atOnce);
  const dummy = bcrypt.hash('nobody has this password', cost);

  return {
    async hash(password) {
      if (passwordBytes(password) > maxPasswordBytes) {
        const message = `A password has ${maxPasswordBytes} bytes at most.`;
        throw new AppError('invalid_input', message, {
          errors: [{ pointer: '/password', code: 'too_long', message }],
        });
      }
      return limit(() => bcrypt.hash(prepared(password), cost));
    },
    async verify(password, hash) {
      // A longer one cannot have been set; bcrypt would compare its first 72 bytes.
      const possible = passwordBytes(password) <= maxPasswordBytes;
      const matches = await limit(async () => bcrypt.compare(prepared(password), hash ?? (await dummy)));
      return matches && possible && hash !== undefined;
    },
  };
}
