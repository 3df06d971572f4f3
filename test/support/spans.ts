import { context, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';

/** OpenTelemetry's SDK, loaded for the whole process as `--import` would; it keeps what has ended in memory. */
export interface Spans {
  /** Those of one trace, in the order of their ends. */
  of(traceId: string): ReadableSpan[];
  all(): ReadableSpan[];
}

export function loadTracing(): Spans {
  const exporter = new InMemorySpanExporter();
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
  );
  const all = () => exporter.getFinishedSpans();
  return { all, of: (traceId) => all().filter((span) => span.spanContext().traceId === traceId) };
}
