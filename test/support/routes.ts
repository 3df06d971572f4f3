import type { Express } from 'express';

/** Every route that is mounted, such as `GET /v1/products/:id`. */
export function routesOf(app: Express): string[] {
  const { router } = app as unknown as { router: { stack: Layer[] } };
  return within(router.stack);
}

interface Layer {
  rawPath: unknown;
  handle: { stack?: Layer[]; last?: Layer['handle'] };
  route?: { path: string; methods: Record<string, boolean> };
}

function within(layers: readonly Layer[], prefix = ''): string[] {
  return layers.flatMap(({ route, handle, rawPath }) => {
    if (route === undefined) {
      const { stack } = handle.last ?? handle;
      return stack ? within(stack, prefix + (rawPath === '/' ? '' : String(rawPath))) : [];
    }
    const methods = Object.keys(route.methods).filter((method) => method !== '_all');
    const path = (prefix + route.path).replace(/\/$/, '');
    return methods.map((method) => `${method.toUpperCase()} ${path}`);
  });
}
