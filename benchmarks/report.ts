/** What a benchmark answers with: figures beside their limit or peer, and whether its own correctness check held. */
export interface Report {
  readonly name: string;
  readonly ratios: readonly Ratio[];
  readonly correct: boolean;
  readonly [more: string]: unknown;
}

export interface Ratio {
  readonly beside: string;
  readonly measured: number;
  readonly goal: number;
  readonly holds: boolean;
}

export function atLeast(beside: string, measured: number, goal: number): Ratio {
  return { beside, measured: rounded(measured), goal, holds: measured >= goal };
}

export function atMost(beside: string, measured: number, goal: number): Ratio {
  return { beside, measured: rounded(measured), goal, holds: measured <= goal };
}

/** Three digits: no figure here is better than that. */
export const rounded = (value: number): number => Number(value.toPrecision(3));

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN;
}
