/** Requests to a process that may be slow, or lose its servers, at any moment. */
export interface Answered {
  /** 0: no answer came. */
  status: number;
  body: unknown;
  servedBy: string;
  token: string | undefined;
}

export interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: object;
}

/** Longer than the application waits for its servers, so that it is the application that gives up. */
const patienceMs = 20_000;

/** Never throws: a lost connection is an outcome, too. */
export async function ask(url: string, { method = 'GET', headers = {}, body }: Asked): Promise<Answered> {
  try {
    const answer = await fetch(url, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(patienceMs),
    });
    const text = await answer.text();
    return {
      status: answer.status,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
      servedBy: answer.headers.get('served-by') ?? '',
      token: answer.headers.get('consistency-token') ?? undefined,
    };
  } catch (error) {
    const { cause, message } = error as Error;
    const why = cause instanceof Error ? cause.message : message;
    return { status: 0, body: undefined, servedBy: why, token: undefined };
  }
}
