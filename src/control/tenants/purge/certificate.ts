import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';

/**
 * What proves that a tenant has been purged: an account of the purge, signed with Ed25519 (RFC 8032). It holds no personal
 * data; the slug is there as a digest that only who knows the slug can check.
 */
const certificateSchema = z.strictObject({
  type: z.literal('tenantry-purge'),
  version: z.literal(1),
  tenantId: z.guid(),
  /** SHA-256 of `<tenant id>:<slug>`, hexadecimal. */
  slugDigest: z.string(),
  isolation: z.enum(['shared', 'schema']),
  createdAt: z.string(),
  deletedAt: z.string(),
  purgedAt: z.string(),
  /** Id of the operator; null for the command line. */
  requestedBy: z.string().nullable(),
  /** Why the end of the retention was not waited for; null when it was. */
  forcedBecause: z.string().nullable(),
  job: z.string(),
  tables: z.array(z.strictObject({ place: z.string(), deleted: z.int(), residual: z.int() })),
  /** Looked through at the end, in all schemas. */
  tablesScanned: z.int(),
  keyId: z.string(),
  signature: z.string(),
});
export type Certificate = z.output<typeof certificateSchema>;
export type CertificateFacts = Omit<Certificate, 'type' | 'version' | 'keyId' | 'signature'>;

export interface Certifier {
  certify(facts: CertificateFacts): Certificate;
  /** @returns the certificate, or what is wrong with it in words */
  check(given: unknown): Certificate | string;
}

/** DER of a private key of Ed25519 up to its 32 bytes: RFC 8410. */
const privateKeyPrefix = Buffer.from('302e020100300506032b657004220420', 'hex');

/** @param secret 32 bytes, used for nothing else: the private key */
export function createCertifier(secret: KeyObject): Certifier {
  const privateKey = createPrivateKey({
    key: Buffer.concat([privateKeyPrefix, secret.export()]),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = createPublicKey(privateKey);
  const keyId = createHash('sha256')
    .update(publicKey.export({ format: 'der', type: 'spki' }))
    .digest('hex')
    .slice(0, 16);

  return {
    certify(facts) {
      const unsigned = { type: 'tenantry-purge', version: 1, ...facts, keyId } as const;
      return { ...unsigned, signature: sign(null, signedPart(unsigned), privateKey).toString('base64url') };
    },
    check(given) {
      const parsed = certificateSchema.safeParse(given);
      if (!parsed.success) return 'This is not a certificate of a purge.';
      const { signature, ...unsigned } = parsed.data;
      if (parsed.data.keyId !== keyId) {
        return `The certificate was signed with another key (${parsed.data.keyId}) than the one of this installation (${keyId}).`;
      }
      const genuine = verify(null, signedPart(unsigned), publicKey, Buffer.from(signature, 'base64url'));
      return genuine ? parsed.data : 'The signature is not right: the certificate was forged or altered.';
    },
  };
}

export function slugDigest(tenantId: string, slug: string): string {
  return createHash('sha256').update(`${tenantId}:${slug}`).digest('hex');
}

/** JSON with the keys of every object in order, whatever order a file has them in. */
function signedPart(value: object): Buffer {
  return Buffer.from(JSON.stringify(value, (_key, part: unknown) => inOrder(part)));
}

function inOrder(part: unknown): unknown {
  if (typeof part !== 'object' || part === null || Array.isArray(part)) return part;
  return Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
