import { createRequire } from 'node:module';
import path from 'node:path';
import express, { Router } from 'express';
import { route } from './route.ts';

/** `/docs`: Swagger UI on `/openapi.json`, from its package, with nothing inline, so that helmet's policy stays as it is. */

/** Of those that the page loads, beside its own. */
const files = new Set(['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png']);
/** For how long browsers keep them, seconds. A release may bring others under the same names. */
const maxAgeS = 86_400;
const cached = `public, max-age=${maxAgeS}`;
const fresh = 'public, no-cache';

const html = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Tenantry: the tenant API</title>
    <link rel="icon" href="favicon-32x32.png">
    <link rel="stylesheet" href="swagger-ui.css">
  </head>
  <body>
    <div id="docs"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script src="start.js"></script>
  </body>
</html>
`;

/** No validator: it would send the address of this service to another one. */
const start = `SwaggerUIBundle({
  url: '../openapi.json',
  dom_id: '#docs',
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: 'list',
  filter: true,
  validatorUrl: null,
});
`;

export function docsRoutes(): Router {
  const router = Router();
  const folder = path.dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));

  route(router, '/', {
    get(req, res) {
      // What the page names is beside it.
      const [address = ''] = req.originalUrl.split('?');
      if (!address.endsWith('/')) {
        res.setHeader('Location', `${path.posix.basename(req.baseUrl)}/`);
        res.status(308).end();
        return;
      }
      res.setHeader('Cache-Control', fresh).type('html').send(html);
    },
  });
  const assets = express.static(folder, {
    index: false,
    redirect: false,
    cacheControl: false,
    setHeaders: (res) => res.setHeader('Cache-Control', cached),
  });
  router.use((req, res, next) => {
    const file = req.path.slice(1);
    if (file === 'start.js' && req.method === 'GET')
      res.setHeader('Cache-Control', fresh).type('js').send(start);
    else if (files.has(file)) assets(req, res, next);
    else next();
  });
  return router;
}
