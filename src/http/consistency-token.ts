import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { formatLsn, parseLsn, type Position } from '../db/index.ts';
import { invalid } from './validate.ts';

/**
 * `Consistency-Token`: proof of a position, given out after a write, and after a read that has brought one. Whoever sends it back — the same client, a
 * colleague's, a job, a receiver of webhooks — reads what was written. Signed, and bound to tenant, system and timeline.
 */
export interface ConsistencyTokens {
  sign(tenantId: string, position: Position): string;
  /**
   * What the token asks for; undefined when it is older than the window, after which every replica that is read has it.
   *
   * @throws AppError invalid_input for a token that is not ours or another tenant's: made-up positions could otherwise
   *   keep all reads on the primary
   */
  read(tenantId: string, token: string): Position | undefined;
  /** A position without a signature, to stand in something that has one of its own. */
  write(position: Position): string;
  /** What `write` has written; undefined as for `read`. */
  parse(text: string): Position | undefined;
}

export interface ConsistencyTokenOptions {
  /** Of at least 256 bits, used for nothing else. */
  key: KeyObject;
  /** Which PostgreSQL system positions are of. */
  systemId: () => string | undefined;
  windowMs: number;
  /** For how long the window has stood still, because replicas cannot be held against the primary. */
  standstillMs: () => number;
  clock: Clock;
}

/** On no timeline: only the primary has certainly reached it. */
const elsewhere: Position = { timeline: 0, lsn: 0n };

export function createConsistencyTokens(options: ConsistencyTokenOptions): ConsistencyTokens {
  const { key, systemId, windowMs, standstillMs, clock } = options;
  const signatureOf = (payload: string, tenantId: string) =>
    createHmac('sha256', key).update(`${tenantId} ${payload}`).digest('base64url').slice(0, 27);

  function write({ timeline, lsn }: Position): string {
    const fields = [systemId() ?? '', timeline.toString(36), formatLsn(lsn), clock.nowMs().toString(36)];
    return fields.join('~').replace('/', '-');
  }

  /** Signed by us, so it has the shape we gave it. */
  function parse(text: string): Position | undefined {
    const [system = '', timeline = '', lsn = '', madeAt = ''] = text.split('~');
    if (clock.nowMs() - Number.parseInt(madeAt, 36) > windowMs + standstillMs()) return undefined;
    if (system !== systemId()) return elsewhere;
    return { timeline: Number.parseInt(timeline, 36), lsn: parseLsn(lsn.replace('-', '/')) };
  }

  return {
    write,
    parse,
    sign(tenantId, position) {
      const payload = write(position);
      return `${payload}.${signatureOf(payload, tenantId)}`;
    },
    read(tenantId, token) {
      const [payload = '', signature = '', ...rest] = token.split('.');
      const expected = Buffer.from(signatureOf(payload, tenantId));
      const given = Buffer.from(signature);
      if (rest.length > 0 || given.length !== expected.length || !timingSafeEqual(given, expected)) {
        const message = 'The token is not one of this tenant. Take it as it was given.';
        throw invalid([{ pointer: 'Consistency-Token', code: 'invalid_token', message }]);
      }
      return parse(payload);
    },
  };
}
