import { z } from 'zod';

export const loginSchema = z.strictObject({
  email: z.string().max(254).toLowerCase(),
  password: z.string().max(1000),
});
export type Login = z.output<typeof loginSchema>;

export const refreshSchema = z.strictObject({ refreshToken: z.string().max(200) });

/** RFC 6749, section 5.1, in camel case. */
export interface TokenView {
  accessToken: string;
  refreshToken: string;
  tokenType: 'Bearer';
  /** Life of the access token, seconds. */
  expiresIn: number;
}
