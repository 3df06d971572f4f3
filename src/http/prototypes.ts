import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Express } from 'express';

/**
 * Express swaps the prototype of every request and response, which takes them off V8's fast path and halves what a
 * process can answer. When the server makes them with Express's prototypes from the start, the swap changes nothing.
 */
export interface MessageClasses {
  IncomingMessage: typeof IncomingMessage;
  ServerResponse: typeof ServerResponse;
}

/** @returns undefined where Node does not let its classes be called as functions; the server is then as usual */
export function expressMessages(app: Express): MessageClasses | undefined {
  function Request(this: IncomingMessage, socket: Socket): void {
    IncomingMessage.call(this, socket);
  }
  Request.prototype = app.request;

  function Response(this: ServerResponse, req: IncomingMessage, options: object): void {
    (ServerResponse as unknown as (this: ServerResponse, req: IncomingMessage, options: object) => void).call(
      this,
      req,
      options,
    );
  }
  Response.prototype = app.response;

  // Plain functions: with a class or Reflect.construct nothing is won. Their types cannot say that `new` takes them.
  const classes = { IncomingMessage: Request, ServerResponse: Response } as unknown as MessageClasses;
  return work(classes) ? classes : undefined;
}

function work({ IncomingMessage: Request, ServerResponse: Response }: MessageClasses): boolean {
  try {
    const request = new Request(new Socket());
    const response = new Response(request);
    return request.headers !== undefined && typeof response.setHeader === 'function' && !response.headersSent;
  } catch {
    return false;
  }
}
