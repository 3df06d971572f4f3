import type { RequestHandler, Router } from 'express';
import { AppError } from '../errors.ts';

type Method = 'get' | 'post' | 'patch' | 'put' | 'delete';
type Handlers = Partial<Record<Method, RequestHandler | RequestHandler[]>>;

/** Registers the methods of one path; any other method is answered with 405 and `Allow`. */
export function route(router: Router, path: string, handlers: Handlers): void {
  const at = router.route(path);
  const methods = Object.keys(handlers) as Method[];
  for (const method of methods) at[method](...[handlers[method] ?? []].flat());
  const allow = [
    ...methods.map((method) => method.toUpperCase()),
    ...(handlers.get ? ['HEAD'] : []),
    'OPTIONS',
  ]
    .toSorted()
    .join(', ');
  at.all((req, res) => {
    res.setHeader('Allow', allow);
    if (req.method !== 'OPTIONS') {
      throw new AppError('method_not_allowed', `This address takes ${allow}.`);
    }
    res.status(204).end();
  });
}
