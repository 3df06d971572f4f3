import { createHash } from 'node:crypto';
import { Router } from 'express';
import { hasIt } from '../etag.ts';
import { route } from '../route.ts';

/**
 * `GET /openapi.json`. Made once, when it is first asked for.
 *
 * @param describe makes the document; whoever never asks does not pay for what makes it, either
 */
export function openApiRoutes(describe: () => Promise<unknown>): Router {
  const router = Router();
  let made: Promise<{ text: string; tag: string }> | undefined;

  async function make() {
    const text = JSON.stringify(await describe());
    return { text, tag: `"${createHash('sha256').update(text).digest('base64url').slice(0, 16)}"` };
  }

  route(router, '/', {
    async get(req, res) {
      made ??= make();
      const { text, tag } = await made;
      res.setHeader('ETag', tag);
      const known = hasIt(req, res);
      res.setHeader('Cache-Control', 'public, no-cache');
      if (known) {
        res.status(304).end();
        return;
      }
      res.setHeader('Content-Type', 'application/json; charset=utf-8');
      res.setHeader('Content-Length', Buffer.byteLength(text));
      res.end(text);
    },
  });
  return router;
}
