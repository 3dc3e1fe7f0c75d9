import type { Cents } from '../../contracts/money.ts';

const money = new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });
const whole = new Intl.NumberFormat('en-IE');

/** 1200 → €12.00 */
export function euros(cents: Cents): string {
  return money.format(cents / 100);
}

/** 12000 → 12,000 */
export function count(n: number): string {
  return whole.format(n);
}

/** 10:00:03; on another day 3 Mar, 10:00:03. */
export function longTime(at: Date, now = new Date()): string {
  const time = clock.format(at);
  return at.toDateString() === now.toDateString() ? time : `${day.format(at)}, ${time}`;
}

/** A span of time as people say it: 43 ms, 1.2 s, 38 s, 4 min, 2 h. */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.max(1, Math.round(ms))} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

/** 1 piece, 2 pieces */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
