import { z } from 'zod';

export const loginSchema = z.strictObject({
  email: z.string().max(254).toLowerCase(),
  password: z.string().max(1000),
});
export type Login = z.output<typeof loginSchema>;

export const refreshSchema = z.strictObject({ refreshToken: z.string().max(200) });

export const logoutSchema = z.strictObject({
  refreshToken: refreshSchema.shape.refreshToken,
  everywhere: z
    .boolean()
    .default(false)
    .meta({ description: 'Ends all sessions of the user, and the access tokens that are out.' }),
});

export const changePasswordSchema = z.strictObject({
  currentPassword: z.string().max(1000),
  newPassword: z.string().min(12).max(1000).meta({ description: 'At most 72 bytes in UTF-8.' }),
});
export type ChangePassword = z.output<typeof changePasswordSchema>;

/** RFC 6749, section 5.1, in camel case. */
export const tokenView = z.strictObject({
  accessToken: z.string(),
  refreshToken: z.string(),
  tokenType: z.literal('Bearer'),
  expiresIn: z.int().meta({ description: 'Life of the access token, seconds.' }),
});
export type TokenView = z.output<typeof tokenView>;
