import { defineTable, type Stamped } from '../../db/index.ts';

export interface ApiKey extends Stamped {
  name: string;
  userId: string | null;
  secretHash: string;
  /** Separated by spaces, as in OAuth. */
  scopes: string;
  expiresAt: string | null;
  lastUsedAt: string | null;
}

export const apiKeys = defineTable<ApiKey>({
  name: 'api_keys',
  columns: {
    name: 'text',
    userId: 'uuid',
    secretHash: 'text',
    scopes: 'text',
    expiresAt: 'timestamptz',
    lastUsedAt: 'timestamptz',
  },
  secret: ['secretHash'],
});
