import type { Response } from 'express';

/**
 * Answers with JSON. Express's `res.json` looks up settings, parses the content type it has just set and hashes the
 * body; this does none of it.
 */
export function answerJson(res: Response, status: number, body: unknown, type = 'application/json'): void {
  const text = JSON.stringify(body);
  res.statusCode = status;
  res.setHeader('Content-Type', `${type}; charset=utf-8`);
  res.setHeader('Content-Length', Buffer.byteLength(text));
  res.end(text);
}
