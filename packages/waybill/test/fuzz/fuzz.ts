/** Hostile input, made from a seed: changes of the kept corpus and of good messages. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Hostile {
  readonly why: string;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
}

interface Kept {
  readonly why: string;
  readonly headers: Record<string, string>;
  readonly text?: string;
  readonly base64?: string;
  readonly repeat?: { readonly text: string; readonly times: number };
}

const file = join(import.meta.dirname, '../../../../lab/corpus/hostile.json');

export const corpus: readonly Hostile[] = (JSON.parse(readFileSync(file, 'utf8')) as Kept[]).map(({ why, headers, text, base64, repeat }) => ({
  why,
  headers,
  body: base64 !== undefined ? Buffer.from(base64, 'base64') : Buffer.from(repeat ? repeat.text.repeat(repeat.times) : text!),
}));

const names = ['ce-id', 'ce-source', 'ce-type', 'ce-time', 'ce-specversion', 'ce-sequence', 'ce-partitionkey', 'ce-waybillkind', 'ce-waybillhops', 'ce-waybillexpires',
  'ce-waybilldowncastof', 'ce-waybillreplyto', 'ce-waybillreplykey', 'ce-correlationid', 'ce-traceparent', '__proto__', 'constructor', 'content-type', 'x'] as const; // prettier-ignore
const values = ['', '1', '-1', '1.0', 'NaN', '9007199254740993', '1e309', '__proto__', 'constructor', '\u0000', '\r\n', '\ud800', 'fuzz.asked.v1', 'fuzz.asked.v99',
  '2030-01-01T00:00:00Z', 'tomorrow', '999999-99-99', 'reply', 'event', 'command', '{}', 'saga:a/b', 'a'.repeat(300), '\u001b[2J', '../../etc/passwd'] as const; // prettier-ignore
const texts = ['{}', '{"n":1}', '{"n":"1"}', 'null', '[]', '0', '"', '{"n":1}{"n":2}', '{"n":1,"n":2}', '{"__proto__":{"n":1}}', '\ufeff{"n":1}', '{"n":-0}', '[[[[[[]]]]]]'] as const; // prettier-ignore

/** One message, a little or a lot worse than one that there was. */
export function hostile(random: () => number): Hostile {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const from = random() < 0.3 ? pick(corpus) : undefined;
  const headers: Record<string, string> = from
    ? { ...from.headers }
    : { 'ce-specversion': '1.0', 'ce-id': `f${Math.floor(random() * 1e9)}`, 'ce-source': 'mars', 'ce-type': 'fuzz.asked.v1' };
  let body: Uint8Array = from && from.body.length < 10_000 ? from.body.slice() : Buffer.from(pick(texts));
  for (let change = Math.floor(random() * 4); change > 0; change--) {
    const kind = random();
    if (kind < 0.3) Object.defineProperty(headers, pick(names), { value: pick(values), enumerable: true, configurable: true, writable: true });
    else if (kind < 0.45) delete headers[pick(names)];
    else if (kind < 0.6) body = Buffer.from(pick(texts));
    else if (kind < 0.8 && body.length > 0) body[Math.floor(random() * body.length)] = Math.floor(random() * 256);
    else body = body.subarray(0, Math.floor(random() * body.length));
  }
  return { why: 'changed', headers, body };
}

/** What a careless expression takes long to look through. */
export const long: readonly string[] = ['a'.repeat(200_000), 'a.'.repeat(100_000), '%'.repeat(50_000), '@:'.repeat(50_000), `${' '.repeat(100_000)}x`, '\u0000'.repeat(100_000)];

/**
 * Processor time in milliseconds that an attempt takes. One that takes longer than `maxMs` is made again, up to three times, for the
 * collection of garbage and the compiler take theirs too: the shortest counts.
 */
export async function costMs(maxMs: number, attempt: () => unknown): Promise<number> {
  let least = Infinity;
  for (let tries = 0; tries < 3 && least >= maxMs; tries++) {
    const began = process.cpuUsage();
    try {
      await attempt();
    } finally {
      least = Math.min(least, process.cpuUsage(began).user / 1000);
    }
  }
  return least;
}

/** Anything that somebody may pass for an option. */
export function anything(random: () => number, depth = 0): unknown {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  if (depth < 2 && random() < 0.2) return Array.from({ length: Math.floor(random() * 3) }, () => anything(random, depth + 1));
  if (depth < 2 && random() < 0.2) return Object.fromEntries(Array.from({ length: Math.floor(random() * 3) }, () => [pick(names), anything(random, depth + 1)]));
  if (random() < 0.02) return pick(long);
  return pick([...values, undefined, null, true, 0, -1, 1.5, Infinity, NaN, 1n, Symbol('x'), () => {}, new Date(NaN), new Map(), 2 ** 53]);
}
