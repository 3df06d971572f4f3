import { z } from 'zod';

export const loginSchema = z.strictObject({
  email: z.string().max(254).toLowerCase(),
  password: z.string().max(1000),
});
export type Login = z.output<typeof loginSchema>;

export interface OperatorSession {
  accessToken: string;
  tokenType: 'Bearer';
  /** Seconds. */
  expiresIn: number;
}
