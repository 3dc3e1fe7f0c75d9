import { box, circle, ellipse, ground, line, path, round as r2, times, type Canvas } from './canvas.ts';
import { BRASS, LEAF, WOOD } from './palette.ts';

export function lamp({ p, flat, chance }: Canvas): string {
  const wide = chance() < 0.5;
  return [
    ellipse(120, 122, 112, 96, 'url(#glow)'),
    ground(120, 208, 48),
    box(116, 112, 8, 86, WOOD.base),
    ellipse(120, 202, 38, 10, WOOD.dark),
    ellipse(120, 198, 38, 10, WOOD.base),
    wide ? path('M88 40 H152 L186 118 Q120 134 54 118 Z', flat) : path('M78 40 H162 L172 122 Q120 134 68 122 Z', flat),
    wide
      ? path('M54 118 Q120 134 186 118 L184 112 Q120 128 56 112 Z', p.trim, 'opacity=".8"')
      : path('M68 122 Q120 134 172 122 L171.5 115 Q120 127 68.7 115 Z', p.trim, 'opacity=".8"'),
    path('M96 46 L80 112 L92 115 L104 46 Z', '#fff', 'opacity=".22"'),
    line('M148 128 V156', BRASS.dark, 2) + circle(148, 159, 4, BRASS.base),
  ].join('');
}

export function candle({ p, round, chance }: Canvas): string {
  const level = 92 + chance() * 18;
  return [
    circle(120, 62, 62, 'url(#glow)'),
    ground(120, 204, 58),
    box(68, 84, 104, 120, round, 14),
    ellipse(120, 86, 52, 12, p.light),
    ellipse(120, 88, 45, 9, '#fdf6e6'),
    line('M120 86 V74', '#3d342b', 3),
    path('M120 38 C134 56 133 76 120 77 C107 76 106 56 120 38 Z', '#f3a73b'),
    path('M120 54 C127 64 126 76 120 76 C114 76 113 64 120 54 Z', '#fff1c4'),
    box(84, level + 24, 72, 48, '#fbf6ea', 4),
    line(`M96 ${r2(level + 42)} h48 M104 ${r2(level + 56)} h32`, p.dark, 3),
    path('M76 100 Q74 160 78 196 L86 198 Q82 150 85 102 Z', '#fff', 'opacity=".25"'),
  ].join('');
}

export function vase({ p, round, chance }: Canvas): string {
  const heads = ['#e6b3a8', '#f0d27a', '#d98b6a', '#f4efe3'];
  const stem = (x: number, y: number, i: number): string =>
    line(`M120 108 Q${r2((x + 120) / 2)} ${r2(y + 40)} ${r2(x)} ${r2(y)}`, LEAF.dark, 3) +
    times(6, (k) => {
      const angle = (k / 6) * Math.PI * 2;
      return circle(x + Math.cos(angle) * 8, y + Math.sin(angle) * 8, 6.5, heads[i % heads.length]!);
    }) +
    circle(x, y, 5.5, '#8a5a2b');
  return [
    ground(120, 208, 46),
    stem(82 + chance() * 8, 52, Math.floor(chance() * 4)),
    stem(156 - chance() * 8, 46, Math.floor(chance() * 4)),
    stem(118 + chance() * 8, 30, Math.floor(chance() * 4)),
    path('M112 106 q-40 -6 -48 -34 q34 4 48 34', LEAF.base) + path('M128 106 q36 2 50 -24 q-34 -4 -50 24', LEAF.light),
    path('M100 98 H140 Q138 122 152 140 C172 168 158 208 120 208 C82 208 68 168 88 140 Q102 122 100 98 Z', round),
    ellipse(120, 99, 20, 5.5, p.dark),
    line('M80 164 Q120 178 160 164', p.trim, 4, 'opacity=".75"'),
    path('M94 146 C82 164 84 190 98 200 C92 184 92 164 102 146 Z', '#fff', 'opacity=".25"'),
  ].join('');
}

export function plant({ p, round, chance }: Canvas): string {
  const leaf = (angle: number, length: number, tone: string): string =>
    `<g transform="rotate(${r2(angle)} 120 146)">${path(`M120 146 C${108 - length * 0.1} ${146 - length * 0.45} 112 ${146 - length * 0.9} 120 ${146 - length} C128 ${146 - length * 0.9} ${132 + length * 0.1} ${146 - length * 0.45} 120 146 Z`, tone)}${line(`M120 144 V${r2(150 - length)}`, LEAF.trim, 1.5, 'opacity=".6"')}</g>`;
  const tones = [LEAF.dark, LEAF.base, LEAF.light];
  return [
    ground(120, 208, 52),
    times(7, (i) => leaf(-72 + i * 24 + chance() * 8 - 4, 84 + (3 - Math.abs(3 - i)) * 11 + chance() * 10, tones[i % 3]!)),
    path('M76 140 H164 L156 198 Q154 208 144 208 H96 Q86 208 84 198 Z', round),
    box(70, 130, 100, 20, p.light, 6),
    box(70, 144, 100, 6, p.dark, 3, 'opacity=".35"'),
    path('M84 154 L90 200 L98 202 L92 154 Z', '#fff', 'opacity=".2"'),
  ].join('');
}

export function cushion({ p, flat, chance }: Canvas): string {
  const pattern = chance();
  const face =
    'M50 58 Q120 72 190 58 Q204 54 200 68 Q188 128 200 186 Q204 202 188 196 Q120 184 52 196 Q36 202 40 186 Q52 128 40 68 Q36 54 50 58 Z';
  return [
    ground(120, 204, 78),
    path(face, flat),
    `<clipPath id="face"><path d="${face}"/></clipPath><g clip-path="url(#face)">`,
    pattern < 0.4
      ? times(6, (i) => box(30, 66 + i * 24, 180, 6, p.trim, 0, 'opacity=".65"'))
      : pattern < 0.7
        ? times(9, (i) => box(46 + i * 18, 40, 3, 180, p.dark, 0, 'opacity=".35"'))
        : times(16, (i) => circle(66 + (i % 4) * 36, 86 + Math.floor(i / 4) * 30, 6, p.trim, 'opacity=".7"')),
    path('M36 50 Q120 80 204 50 V40 H36 Z', '#fff', 'opacity=".25"'),
    path('M200 60 Q180 128 202 200 L214 200 V60 Z', p.dark, 'opacity=".5"'),
    '</g>',
    times(4, (i) => circle(i % 2 ? 197 : 43, i < 2 ? 60 : 193, 6, p.dark)),
  ].join('');
}

export function clock({ p, flat, chance }: Canvas): string {
  const hour = chance() * 360;
  const minute = (hour * 12) % 360;
  const hand = (angle: number, length: number, width: number): string =>
    `<g transform="rotate(${r2(angle)} 120 118)">${line(`M120 128 V${118 - length}`, '#27313a', width)}</g>`;
  return [
    ground(120, 208, 58),
    circle(120, 122, 86, p.dark),
    circle(120, 118, 86, flat),
    circle(120, 118, 70, '#fdfaf2'),
    times(
      12,
      (i) =>
        `<g transform="rotate(${i * 30} 120 118)">${line(i % 3 === 0 ? 'M120 56 V68' : 'M120 56 V62', '#27313a', i % 3 === 0 ? 5 : 3)}</g>`,
    ),
    hand(hour, 36, 6),
    hand(minute, 54, 4),
    circle(120, 118, 6, p.base),
    path('M62 96 A62 62 0 0 1 120 54 L120 62 A56 56 0 0 0 70 98 Z', '#fff', 'opacity=".6"'),
  ].join('');
}

export function chair({ p, flat, chance }: Canvas): string {
  const slats = chance() < 0.5;
  return [
    ground(118, 214, 62),
    line('M74 148 L64 212', WOOD.dark, 9) + line('M158 150 L170 212', WOOD.dark, 9),
    line('M96 160 L90 214', WOOD.base, 9) + line('M178 146 L188 208', WOOD.base, 9),
    line('M78 30 L82 138', WOOD.base, 9) + line('M158 30 L160 138', WOOD.base, 9),
    slats ? times(3, (i) => box(76, 42 + i * 26, 86, 14, flat, 7)) : path('M76 34 Q118 22 160 34 L160 96 Q118 86 79 96 Z', flat),
    path('M70 134 H168 L192 150 Q194 160 182 162 H88 Q62 160 62 146 Z', p.base),
    path('M70 130 H168 L192 146 Q194 154 182 155 H88 Q62 154 62 141 Z', flat),
    path('M78 134 H160 L170 141 H84 Z', '#fff', 'opacity=".2"'),
    line('M74 186 H178', WOOD.dark, 5, 'opacity=".8"'),
  ].join('');
}
