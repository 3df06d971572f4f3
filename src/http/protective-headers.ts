import type { IncomingMessage, ServerResponse } from 'node:http';
import helmet from 'helmet';
import type { Step } from './steps.ts';

/**
 * What helmet sets, and that no cache may keep an answer: it belongs to one caller and is out of date at once. helmet
 * sets the same for every request, so it is asked once.
 */
export const protectiveEntries: readonly (readonly [string, string])[] = [
  ...headersOf(helmet()),
  ['Cache-Control', 'private, no-store'],
  ['Vary', 'Authorization, X-Tenant-ID'],
];

export function protectiveHeaders(): Step {
  return (_req, res) => {
    for (const [name, value] of protectiveEntries) res.setHeader(name, value);
  };
}

type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void;

/** @throws when the middleware does more than setting headers at once */
function headersOf(middleware: Middleware): Map<string, string> {
  const headers = new Map<string, string>();
  const response = {
    setHeader: (name: string, value: string) => headers.set(name, value),
    removeHeader: (name: string) => headers.delete(name),
  };
  let done = false;
  // Nothing else is looked at: what is not there would throw.
  middleware({} as IncomingMessage, response as unknown as ServerResponse, (error) => {
    if (error !== undefined) throw error;
    done = true;
  });
  if (!done) throw new Error('helmet did not come to its end');
  return headers;
}
