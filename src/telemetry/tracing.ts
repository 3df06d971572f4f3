import {
  context,
  isSpanContextValid,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { Clock } from '../clock.ts';
import type { StatementFacts } from '../db/index.ts';
import type { RequestObserver } from '../http/observation.ts';
import { errorCode } from './slow-statements.ts';

/** Spans for requests and, below them, for statements. */
export interface Tracing {
  request: NonNullable<RequestObserver['trace']>;
  statement(facts: StatementFacts): void;
  /** Of the trace that what is running belongs to. */
  activeId(): string | undefined;
}

/**
 * @returns undefined when no OpenTelemetry SDK has been loaded by now (`node --import ./tracing.js …`): then nothing at
 *   all is done for a trace
 */
export function createTracing(clock: Clock): Tracing | undefined {
  const tracer = trace.getTracer('tenantry');
  // Without an SDK spans have no identity. A span that is never ended is never shown.
  if (!isSpanContextValid(tracer.startSpan('is anybody there').spanContext())) return undefined;

  return {
    request(method, headers) {
      const around = context.active();
      // With an instrumentation of node:http there is a span already, which has taken `traceparent` into account.
      const enclosed = trace.getSpan(around) !== undefined;
      const parent = enclosed ? around : propagation.extract(around, headers);
      const kind = enclosed ? SpanKind.INTERNAL : SpanKind.SERVER;
      const span = tracer.startSpan(method, { kind, attributes: { 'http.request.method': method } }, parent);
      const own = trace.setSpan(parent, span);
      return {
        id: span.spanContext().traceId,
        within: (fn) => context.with(own, fn),
        end({ route, status, node, reason }) {
          span.updateName(`${method} ${route}`);
          span.setAttributes({ 'http.route': route, 'http.response.status_code': status });
          setPlace(span, node, reason);
          if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        },
      };
    },

    // Made afterwards: what is told of a statement is known when it has ended.
    statement({ name, node, reason, ms, error }) {
      const endedAtMs = clock.nowMs();
      const span = tracer.startSpan(name, {
        kind: SpanKind.CLIENT,
        startTime: endedAtMs - ms,
        attributes: { 'db.system.name': 'postgresql', 'db.query.summary': name },
      });
      setPlace(span, node, reason);
      const code = errorCode(error);
      if (code !== undefined) {
        span.setAttributes({ 'db.response.status_code': code, 'error.type': code });
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
      span.end(endedAtMs);
    },

    activeId: () => trace.getActiveSpan()?.spanContext().traceId,
  };
}

function setPlace(span: Span, node: string | undefined, reason: string | undefined): void {
  if (node !== undefined) span.setAttribute('tenantry.node', node);
  if (reason !== undefined) span.setAttribute('tenantry.reason', reason);
}
