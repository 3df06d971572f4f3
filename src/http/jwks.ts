import { Router } from 'express';
import type { SigningKey } from '../auth/signing-keys.ts';
import { route } from './route.ts';

/** For how long others may keep the list, seconds: a new key must be listed for that long before it signs. */
const maxAgeS = 300;

/** `GET /.well-known/jwks.json` (RFC 7517): the public halves of the keys that access tokens are signed with. */
export function jwksRoutes(keys: readonly SigningKey[]): Router {
  const router = Router();
  const published = { keys: keys.flatMap((key) => (key.published === undefined ? [] : [key.published])) };
  route(router, '/jwks.json', {
    get(_req, res) {
      res.setHeader('Cache-Control', `public, max-age=${maxAgeS}`);
      res.json(published);
    },
  });
  return router;
}
