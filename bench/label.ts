import { contenders } from './contender.ts';
import type { Measurement } from './measurement.ts';

export function labelOf(contender: Measurement['contender']): string {
  if (contender === 'pgbench') return 'pgbench (no HTTP)';
  return contenders.find(({ key }) => key === contender)?.label ?? contender;
}
