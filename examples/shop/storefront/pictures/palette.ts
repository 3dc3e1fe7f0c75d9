/** Three tones of one colour, as light from the upper left makes them, and a colour that goes with it. */
export interface Palette {
  readonly light: string;
  readonly base: string;
  readonly dark: string;
  readonly trim: string;
}

const PALETTES: Readonly<Record<string, Palette>> = {
  sea: { light: '#6fb0bf', base: '#3d8798', dark: '#26606e', trim: '#f0e3c8' },
  sky: { light: '#b5d6e6', base: '#84b6d0', dark: '#5a90ae', trim: '#fbf4e4' },
  ink: { light: '#5b6d92', base: '#36466a', dark: '#222d49', trim: '#e2b866' },
  moss: { light: '#95ab73', base: '#6a8450', dark: '#485d36', trim: '#f1e7cf' },
  clay: { light: '#dca184', base: '#c07a5b', dark: '#95563b', trim: '#f6e3cf' },
  rust: { light: '#d98366', base: '#b95a3c', dark: '#8a3d27', trim: '#f4ddb6' },
  mustard: { light: '#eccb74', base: '#d8a93c', dark: '#a97c1f', trim: '#fdf3da' },
  sand: { light: '#e6d6b8', base: '#ccb68f', dark: '#a08a62', trim: '#7b5f43' },
  chalk: { light: '#ffffff', base: '#efece4', dark: '#c9c3b4', trim: '#5f8491' },
  charcoal: { light: '#7d858c', base: '#4f575f', dark: '#333a41', trim: '#d9b77c' },
  rose: { light: '#ecbcb8', base: '#d7928f', dark: '#ad6865', trim: '#fbeee6' },
  plum: { light: '#a9819f', base: '#7d5575', dark: '#573850', trim: '#efd9c5' },
};

export const WOOD: Palette = { light: '#dcb98a', base: '#c0965f', dark: '#8d683c', trim: '#f2e2c6' };
export const METAL: Palette = { light: '#e4e7e8', base: '#b6bdc1', dark: '#7f888e', trim: '#ffffff' };
export const LEAF: Palette = { light: '#8fb27a', base: '#5f8a55', dark: '#3f653c', trim: '#c9dcb4' };
export const BRASS: Palette = { light: '#f0d596', base: '#cfa553', dark: '#96722d', trim: '#fff3d2' };

/** Unknown colours come out in sand: a picture is never a reason to fail. */
export function paletteOf(colour: string): Palette {
  return PALETTES[colour] ?? PALETTES['sand']!;
}
