import { mulberry32 } from '../clock.ts';

/** Seeded chance. A run draws from several streams, so that a fault more or less does not shift everything else. */
export interface Chance {
  /** Uniform in [0, 1). */
  next(): number;
  /** Whole, from `from` to `to`. */
  whole(from: number, to: number): number;
  is(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
  /** A stream of its own, the same for the same name. */
  stream(name: string | number): Chance;
}

export function chance(seed: number): Chance {
  const next = mulberry32(seed);
  const self: Chance = {
    next,
    whole: (from, to) => from + Math.floor(next() * (to - from + 1)),
    is: (probability) => next() < probability,
    pick: (list) => list[Math.floor(next() * list.length)]!,
    stream: (name) => chance(mix(`${seed}/${name}`)),
  };
  return self;
}

/** 32 bits of FNV-1a, stirred once more. */
export function mix(text: string, seed = 0x811c9dc5): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
