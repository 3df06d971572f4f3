import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import { deriveKey } from '../auth/signing-keys.ts';
import type { Once, SealedResult } from '../db/index.ts';
import { keyReused } from '../errors.ts';
import { contentDigest } from './idempotency-key.ts';

/**
 * Results can hold secrets, such as the text of a new API key. So they are encrypted (AES-256-GCM) with a key that is made
 * from a secret of the service and from the request's own name, Idempotency-Key included, of which the table has only a
 * hash: neither the table nor the table and the secret are enough to read them.
 *
 * @param secrets the first seals; the others open what was sealed before keys were changed
 * @param name of the request, with its Idempotency-Key
 * @param content what is asked for
 */
export function sealFor(
  secrets: readonly KeyObject[],
  name: string,
  content: unknown,
): Pick<Once, 'seal' | 'open'> {
  const keysFrom = (secret: KeyObject) => ({
    digest: contentDigest(deriveKey(secret, `content of ${name}`), content),
    key: deriveKey(secret, `result of ${name}`),
  });
  return {
    seal(result) {
      const [secret] = secrets;
      if (secret === undefined) throw new Error('Results are sealed with a secret');
      const { digest, key } = keysFrom(secret);
      return { digest, bytes: encrypt(key, JSON.stringify(result) ?? 'null') };
    },
    open(sealed) {
      const own = secrets.map(keysFrom).find(({ digest }) => digest === sealed.digest);
      if (own === undefined) throw keyReused('This Idempotency-Key was sent with another request before.');
      return JSON.parse(decrypt(own.key, sealed));
    },
  };
}

const algorithm = 'aes-256-gcm';
const ivBytes = 12;
const tagBytes = 16;

function encrypt(key: KeyObject, text: string): Buffer {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv(algorithm, key, iv, { authTagLength: tagBytes });
  const parts = [cipher.update(text, 'utf8'), cipher.final()];
  return Buffer.concat([iv, cipher.getAuthTag(), ...parts]);
}

function decrypt(key: KeyObject, { bytes }: SealedResult): string {
  const iv = bytes.subarray(0, ivBytes);
  const decipher = createDecipheriv(algorithm, key, iv, { authTagLength: tagBytes });
  decipher.setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes));
  return decipher.update(bytes.subarray(ivBytes + tagBytes), undefined, 'utf8') + decipher.final('utf8');
}
