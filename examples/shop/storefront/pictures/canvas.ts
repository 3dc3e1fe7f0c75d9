import type { Palette } from './palette.ts';

/** What a drawing gets: its colours, the names of its gradients, and a source of chance that is the same each time. */
export interface Canvas {
  readonly p: Palette;
  /** Paint for a round body: light on the left, dark on the right. */
  readonly round: string;
  /** Paint for a flat face: a little lighter above. */
  readonly flat: string;
  /** The next number from 0 to 1 for this product. */
  chance(): number;
}

/** A gradient across `colours`, left to right or top to bottom. */
export function gradient(id: string, direction: 'across' | 'down', colours: readonly string[]): string {
  const [x2, y2] = direction === 'across' ? [1, 0] : [0, 1];
  const stops = colours.map((colour, i) => `<stop offset="${round(i / (colours.length - 1))}" stop-color="${colour}"/>`);
  return `<linearGradient id="${id}" x1="0" y1="0" x2="${x2}" y2="${y2}">${stops.join('')}</linearGradient>`;
}

/** Paint for the light around a flame: bright in the middle, nothing at the edge. */
export const GLOW = `<radialGradient id="glow"><stop offset="0" stop-color="#ffe3a0" stop-opacity=".75"/><stop offset="1" stop-color="#ffe3a0" stop-opacity="0"/></radialGradient>`;

/** The shadow that a thing throws on the ground. */
export function ground(cx: number, cy: number, rx: number): string {
  return `<ellipse cx="${cx}" cy="${cy}" rx="${rx}" ry="${round(rx * 0.13)}" fill="#14202a" opacity=".16"/>`;
}

export function path(d: string, fill: string, more = ''): string {
  return `<path d="${d}" fill="${fill}" ${more}/>`;
}

export function line(d: string, stroke: string, width: number, more = ''): string {
  return `<path d="${d}" fill="none" stroke="${stroke}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round" ${more}/>`;
}

export function ellipse(cx: number, cy: number, rx: number, ry: number, fill: string, more = ''): string {
  return `<ellipse cx="${round(cx)}" cy="${round(cy)}" rx="${round(rx)}" ry="${round(ry)}" fill="${fill}" ${more}/>`;
}

export function circle(cx: number, cy: number, r: number, fill: string, more = ''): string {
  return ellipse(cx, cy, r, r, fill, more);
}

export function box(x: number, y: number, width: number, height: number, fill: string, radius = 0, more = ''): string {
  return `<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" rx="${radius}" fill="${fill}" ${more}/>`;
}

/** `n` pieces, made one after another. */
export function times(n: number, draw: (i: number) => string): string {
  return Array.from({ length: n }, (_, i) => draw(i)).join('');
}

/** Two places are finer than anybody sees, and keep the file small. */
export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** A generator of numbers from 0 to 1 that says the same for the same text (mulberry32 over an FNV-1a hash). */
export function chanceFrom(text: string): () => number {
  let state = 2166136261;
  for (const char of text) state = Math.imul(state ^ char.codePointAt(0)!, 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
