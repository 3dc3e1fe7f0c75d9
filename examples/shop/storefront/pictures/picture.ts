import { chanceFrom, GLOW, gradient, type Canvas } from './canvas.ts';
import { notebook, globe, pencils } from './desk.ts';
import { candle, chair, clock, cushion, lamp, plant, vase } from './home.ts';
import { board, bowl, jar, mug, pan, teapot } from './kitchen.ts';
import { paletteOf } from './palette.ts';
import { backpack, bottle, compass, lantern, tent } from './trail.ts';
import { beanie, scarf, socks, umbrella } from './wear.ts';

type Drawing = (canvas: Canvas) => string;

const DRAWINGS: Readonly<Record<string, Drawing>> = {
  ...{ mug, teapot, bowl, pan, board, jar },
  ...{ lamp, candle, vase, plant, cushion, clock, chair },
  ...{ notebook, pencils, globe },
  ...{ bottle, backpack, tent, lantern, compass },
  ...{ beanie, scarf, socks, umbrella },
};

/** Draws a product: what kind of thing it is, in its colour, with details that are its own and always the same. */
export function picture(product: { productId: string; kind: string; colour: string }): string {
  const draw = Object.hasOwn(DRAWINGS, product.kind) ? DRAWINGS[product.kind]! : jar;
  const p = paletteOf(product.colour);
  const body = draw({ p, round: 'url(#round)', flat: 'url(#flat)', chance: chanceFrom(product.productId) });
  const paints =
    gradient('round', 'across', [p.base, p.light, p.base, p.dark]) +
    gradient('flat', 'down', [p.light, p.base]) +
    (body.includes('#glow') ? GLOW : '');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 240 240"><defs>${paints}</defs>${body}</svg>`;
}

/** Whether there is a drawing of this kind of thing. */
export function canDraw(kind: string): boolean {
  return Object.hasOwn(DRAWINGS, kind);
}
