import { defineTable, type Stamped } from '../../db/index.ts';

/**
 * One login begins a family; each refresh uses up one token and adds the next. Only the hash of a token is kept.
 */
export interface RefreshTokenRow extends Stamped {
  userId: string;
  familyId: string;
  tokenHash: string;
  expiresAt: string;
  usedAt: string | null;
}

export const refreshTokens = defineTable<RefreshTokenRow>({
  name: 'refresh_tokens',
  columns: {
    userId: 'uuid',
    familyId: 'uuid',
    tokenHash: 'text',
    expiresAt: 'timestamptz',
    usedAt: 'timestamptz',
  },
  secret: ['tokenHash'],
  // Logins, logouts and reuse are events of their own; the rows are their bookkeeping.
  audit: 'none',
});
