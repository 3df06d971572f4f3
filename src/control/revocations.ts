import type { Clock } from '../clock.ts';
import { type Database, schemaName, type WriteSession } from '../db/index.ts';
import { unavailable } from '../errors.ts';

/**
 * Which access tokens have been ended before their time: those of a user who was removed, got another role or another
 * password. The list is short, for it is needed only as long as such a token would live, so every process has all of it
 * in memory and asks for what is new once a second, for all tenants and users together: a request costs nothing.
 */
export interface Revocations {
  /** Within the unit of work that ends them: tokens of this user below `version` do not count any more. */
  revoke(session: WriteSession, userId: string, version: number): Promise<void>;
  /** After it: this process knows at once. */
  note(tenantId: string, userId: string, version: number): void;
  /** A promise only when this process has no answer younger than `staleMs`. @throws AppError unavailable when nobody answers */
  isRevoked(claims: RevocableClaims): boolean | Promise<boolean>;
}

export interface RevocableClaims {
  tenantId: string;
  userId: string;
  credentialsVersion: number;
}

/** Asked again in the background when the last answer is older than this. */
const freshMs = 1000;
/** Older than this, the next answer is waited for: so long, at most, does an ended token go on counting. */
const staleMs = 2000;
/** But for this long while nobody answers: a primary that is lost takes no new ones either. */
const unansweredMs = 5000;
/** A change becomes visible when it is committed, later than the time that stands in it. */
const overlapS = 60;

interface Row {
  tenant: string;
  subject: string;
  version: number;
}

interface Known {
  version: number;
  untilMs: number;
}

/** @param tokenTtlS the life of an access token */
export function createRevocations(
  database: Pick<Database, 'lookUp'>,
  { tokenTtlS, clock }: { tokenTtlS: number; clock: Clock },
): Revocations {
  const known = new Map<string, Known>();
  let askedAtMs: number | undefined;
  let asking: Promise<void> | undefined;

  function note(tenantId: string, userId: string, version: number): void {
    const key = `${tenantId}/${userId}`;
    const before = known.get(key)?.version ?? 0;
    known.delete(key); // so that the order of the map is that of their ends
    const untilMs = clock.monotonicMs() + (tokenTtlS + overlapS) * 1000;
    known.set(key, { version: Math.max(before, version), untilMs });
  }

  function dropOld(): void {
    const nowMs = clock.monotonicMs();
    for (const [key, { untilMs }] of known) {
      if (untilMs > nowMs) return;
      known.delete(key);
    }
  }

  async function ask(): Promise<void> {
    const startedMs = clock.monotonicMs();
    const sinceS = askedAtMs === undefined ? tokenTtlS + overlapS : overlapS + (startedMs - askedAtMs) / 1000;
    // One row in any case: a look-up that finds nothing on a replica waits for the primary.
    const [row] = await database.lookUp<{ ended: Row[] }>(
      schemaName('control'),
      `select coalesce(jsonb_agg(r), '[]') as ended from revocations r
       where revoked_at > now() - make_interval(secs => $1)`,
      [Math.min(sinceS, tokenTtlS + overlapS)],
    );
    for (const { tenant, subject, version } of row?.ended ?? []) note(tenant, subject, version);
    dropOld();
    askedAtMs = startedMs;
  }

  /** One question at a time, however many requests wait for it. */
  function askOnce(): Promise<void> {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return asking;
  }

  const verdict = ({ tenantId, userId, credentialsVersion }: RevocableClaims): boolean =>
    credentialsVersion < (known.get(`${tenantId}/${userId}`)?.version ?? 0);

  return {
    note,
    isRevoked(claims) {
      const ageMs = askedAtMs === undefined ? Infinity : clock.monotonicMs() - askedAtMs;
      if (ageMs < freshMs) return verdict(claims);
      const asked = askOnce();
      if (ageMs < staleMs) {
        asked.catch(() => undefined); // it is asked again, and from staleMs on somebody waits for the answer
        return verdict(claims);
      }
      return asked.then(
        () => verdict(claims),
        (error: unknown) => {
          if (ageMs < unansweredMs) return verdict(claims);
          throw unavailable('Credentials cannot be checked at the moment.', error);
        },
      );
    },
    async revoke(session, userId, version) {
      await session.query(
        `insert into control.revocations as r (tenant, subject, version, revoked_at) values ($1, $2, $3, now())
         on conflict (tenant, subject) do update
         set version = greatest(r.version, excluded.version), revoked_at = excluded.revoked_at`,
        [session.tenant?.id, userId, version],
        {},
        'revocations.add',
      );
    },
  };
}
