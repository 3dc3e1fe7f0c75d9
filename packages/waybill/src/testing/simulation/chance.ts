import { mulberry32 } from '../clock.ts';

/**
 * Seeded chance. A run draws from several streams, so that a fault more or less does not shift everything else; each
 * call to the outside has one, which is cheap.
 */
export class Chance {
  /** Uniform in [0, 1). */
  readonly next: () => number;
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
    this.next = mulberry32(seed);
  }

  /** Whole, from `from` to `to`. */
  whole(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  is(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)]!;
  }

  /** A stream of its own, the same for the same name. */
  stream(name: string | number): Chance {
    return new Chance(typeof name === 'number' ? stir(this.#seed ^ Math.imul(name, 0x9e3779b1)) : mix(name, this.#seed));
  }
}

/** 32 bits of FNV-1a, stirred once more. */
export function mix(text: string, seed = 0x811c9dc5): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return stir(hash);
}

function stir(hash: number): number {
  const half = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (half ^ (half >>> 13)) >>> 0;
}
