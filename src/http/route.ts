import type { RequestHandler, Router } from 'express';
import { AppError } from '../errors.ts';
import { patchTypesOf } from './body.ts';

type Method = 'get' | 'post' | 'patch' | 'put' | 'delete';
type Handlers = Partial<Record<Method, RequestHandler | RequestHandler[]>>;

/** Registers the methods of one path; any other method is answered with 405 and `Allow`. */
export function route(router: Router, path: string, handlers: Handlers): void {
  const at = router.route(path);
  const methods = Object.keys(handlers) as Method[];
  for (const method of methods) {
    const [first, ...others] = [handlers[method] ?? []].flat();
    if (first !== undefined) at[method](noting(path, first), ...others);
  }
  const allow = [
    ...methods.map((method) => method.toUpperCase()),
    ...(handlers.get ? ['HEAD'] : []),
    'OPTIONS',
  ]
    .toSorted()
    .join(', ');
  const otherMethod: RequestHandler = (req, res) => {
    res.setHeader('Allow', allow);
    if (handlers.patch !== undefined) res.setHeader('Accept-Patch', patchTypesOf(req));
    if (req.method !== 'OPTIONS') {
      throw new AppError('method_not_allowed', `This address takes ${allow}.`);
    }
    res.status(204).end();
  };
  at.all(noting(path, otherMethod));
}

/**
 * Remembers which pattern took the request: figures are kept by it, for addresses are without number. Express forgets
 * where a router was mounted as soon as an error leaves it. Within the handler, because one more of them costs ten times
 * as much.
 */
function noting(path: string, handler: RequestHandler): RequestHandler {
  let base: string | undefined;
  let pattern = '';
  return (req, res, next) => {
    if (req.baseUrl !== base) {
      base = req.baseUrl;
      pattern = `${base.toLowerCase()}${path === '/' ? '' : path}`; // paths match in any case
    }
    req.context.route = pattern;
    return handler(req, res, next);
  };
}
