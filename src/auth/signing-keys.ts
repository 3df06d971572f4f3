import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hkdfSync,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';

/**
 * The keys of access tokens: JWT_KEYS, a JSON Web Key Set (RFC 7517). The first one signs, all of them verify, each by
 * its `kid` and with the one algorithm that it is for: what a token says of its algorithm chooses nothing.
 */
export interface SigningKey {
  /** Undefined for JWT_SECRET, whose tokens name no key. */
  kid: string | undefined;
  alg: Algorithm;
  verify: KeyObject;
  /** Absent from a key that is only published: its tokens are made elsewhere, or not any more. */
  sign?: KeyObject;
  /** As `/.well-known/jwks.json` has it; absent from secrets. */
  published?: JsonWebKey;
}

export const algorithms = ['HS256', 'ES256', 'RS256'] as const;
export type Algorithm = (typeof algorithms)[number];

const minimumSecretBytes = 32;
const minimumModulusBits = 2048;

/** The keys, or all that is wrong with them; never a value of theirs. */
export type ParsedKeys = { keys: SigningKey[]; problems: [] } | { keys: undefined; problems: string[] };

export function parseSigningKeys(text: string): ParsedKeys {
  const entries = entriesOf(text);
  if (entries === undefined || entries.length === 0) {
    return failed(['a JSON Web Key Set is needed: {"keys":[{"kty":"EC","kid":"2026-01","alg":"ES256",…}]}']);
  }
  const keys: SigningKey[] = [];
  const problems = entries.flatMap((entry, index) => {
    const read = readKey(entry);
    if (typeof read === 'string') return [`key ${index + 1}: ${read}`];
    if (keys.some(({ kid }) => kid === read.kid)) return [`key ${index + 1}: another key has the same kid`];
    keys.push(read);
    return [];
  });
  if (problems.length === 0 && keys[0]?.sign === undefined) {
    problems.push('key 1 signs, so it must be a secret or private key');
  }
  return problems.length > 0 ? failed(problems) : { keys, problems: [] };
}

function failed(problems: string[]): ParsedKeys {
  return { keys: undefined, problems };
}

/** JWT_SECRET as a key. */
export function secretKey(secret: string): SigningKey {
  // As a KeyObject a check takes 8 µs; with the secret as a string jsonwebtoken takes 350.
  const key = createSecretKey(Buffer.from(secret));
  return { kid: undefined, alg: 'HS256', verify: key, sign: key };
}

/**
 * A key for one other use, such as page cursors; it tells nothing about what it is made from.
 *
 * @param source JWT_SECRET or, where there is none, the key that signs
 */
export function deriveKey(source: string | KeyObject, use: string): KeyObject {
  const bytes = typeof source === 'string' ? source : secretBytes(source);
  return createSecretKey(Buffer.from(hkdfSync('sha256', bytes, '', use, 32)));
}

function secretBytes(key: KeyObject): Buffer {
  return key.type === 'secret' ? key.export() : key.export({ type: 'pkcs8', format: 'der' });
}

function entriesOf(text: string): unknown[] | undefined {
  try {
    const parsed = JSON.parse(text) as { keys?: unknown } | null;
    return Array.isArray(parsed?.keys) ? parsed.keys : undefined;
  } catch {
    return undefined;
  }
}

/** The key, or what is wrong with it. */
function readKey(entry: unknown): SigningKey | string {
  const jwk = (typeof entry === 'object' && entry !== null ? entry : {}) as JsonWebKey &
    Record<string, unknown>;
  const { kid, alg, use } = jwk;
  if (typeof kid !== 'string' || !/^[\w.-]{1,64}$/.test(kid))
    return 'a kid of 1 to 64 letters, digits, . _ - is needed';
  if (use !== undefined && use !== 'sig') return 'use must be sig, or left out';
  if (!isAlgorithm(alg)) return `alg must be one of ${algorithms.join(', ')}`;
  try {
    return alg === 'HS256' ? readSecret(kid, jwk) : readPair(kid, alg, jwk);
  } catch {
    // What node:crypto says of it may hold parts of the key.
    return `this is no key for ${alg}`;
  }
}

function isAlgorithm(alg: unknown): alg is Algorithm {
  return algorithms.some((known) => known === alg);
}

function readSecret(kid: string, { kty, k }: JsonWebKey): SigningKey | string {
  if (kty !== 'oct' || typeof k !== 'string' || !/^[\w-]+$/.test(k))
    return 'HS256 needs kty oct, and k in base64url';
  const bytes = Buffer.from(k, 'base64url');
  if (bytes.length < minimumSecretBytes) return `a secret of ${minimumSecretBytes} bytes at least is needed`;
  const key = createSecretKey(bytes);
  return { kid, alg: 'HS256', verify: key, sign: key };
}

function readPair(kid: string, alg: 'ES256' | 'RS256', jwk: JsonWebKey): SigningKey | string {
  const sign = jwk.d === undefined ? undefined : createPrivateKey({ key: jwk as never, format: 'jwk' });
  const verify =
    sign === undefined ? createPublicKey({ key: jwk as never, format: 'jwk' }) : createPublicKey(sign);
  const { namedCurve, modulusLength = 0 } = verify.asymmetricKeyDetails ?? {};
  if (alg === 'ES256' && (verify.asymmetricKeyType !== 'ec' || namedCurve !== 'prime256v1')) {
    return 'ES256 needs kty EC with crv P-256';
  }
  if (alg === 'RS256' && verify.asymmetricKeyType !== 'rsa') return 'RS256 needs kty RSA';
  if (alg === 'RS256' && modulusLength < minimumModulusBits) {
    return `an RSA key of ${minimumModulusBits} bits at least is needed`;
  }
  const published = { ...verify.export({ format: 'jwk' }), kid, alg, use: 'sig' };
  return { kid, alg, verify, published, ...(sign === undefined ? {} : { sign }) };
}
