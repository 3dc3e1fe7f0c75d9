import { box, circle, ellipse, ground, line, path, round as r2, times, type Canvas } from './canvas.ts';
import { BRASS, METAL, WOOD } from './palette.ts';

export function bottle({ p, round, chance }: Canvas): string {
  const mark = chance();
  return [
    ground(120, 212, 40),
    line('M106 40 C104 16 136 16 134 40', p.dark, 7),
    box(100, 34, 40, 28, mark < 0.5 ? METAL.base : WOOD.base, 6),
    box(100, 34, 14, 28, '#fff', 6, 'opacity=".3"'),
    path('M104 60 H136 V68 Q160 76 160 98 V196 Q160 212 144 212 H96 Q80 212 80 196 V98 Q80 76 104 68 Z', round),
    mark < 0.35
      ? path('M96 150 L114 118 L124 136 L132 124 L146 150 Z', p.trim, 'opacity=".85"')
      : mark < 0.7
        ? line('M96 130 q12 -10 24 0 t24 0 M96 146 q12 -10 24 0 t24 0', p.trim, 4, 'opacity=".8"')
        : box(80, 126, 80, 12, p.trim, 0, 'opacity=".75"'),
    path('M88 96 Q90 84 98 80 V206 Q90 204 88 194 Z', '#fff', 'opacity=".25"'),
    box(80, 192, 80, 5, p.dark, 0, 'opacity=".5"'),
  ].join('');
}

export function backpack({ p, flat }: Canvas): string {
  return [
    ground(120, 212, 62),
    line('M100 44 C100 20 140 20 140 44', p.dark, 8),
    path('M52 118 Q42 124 42 150 V180 Q42 192 56 192 Z', p.dark) +
      path('M188 118 Q198 124 198 150 V180 Q198 192 184 192 Z', p.dark),
    path('M120 34 C168 34 182 66 182 104 V192 Q182 212 162 212 H78 Q58 212 58 192 V104 C58 66 72 34 120 34 Z', flat),
    path('M58 100 C58 66 72 34 120 34 C168 34 182 66 182 100 Q182 116 166 116 H74 Q58 116 58 100 Z', p.dark, 'opacity=".55"'),
    path('M62 92 C64 62 78 38 120 38 C162 38 176 62 178 92 Q178 106 164 106 H76 Q62 106 62 92 Z', p.base),
    box(74, 140, 92, 58, p.dark, 14, 'opacity=".5"'),
    box(74, 136, 92, 58, p.base, 14),
    line('M84 152 H156', p.trim, 3, 'stroke-dasharray="1 6"'),
    box(92, 96, 12, 40, WOOD.base, 3) + box(136, 96, 12, 40, WOOD.base, 3),
    box(89, 114, 18, 12, BRASS.base, 3) + box(133, 114, 18, 12, BRASS.base, 3),
    path('M72 82 C76 60 90 46 112 44 C92 54 84 70 84 92 Z', '#fff', 'opacity=".25"'),
  ].join('');
}

export function tent({ p, flat, chance }: Canvas): string {
  const moon = chance() < 0.5;
  return [
    moon ? circle(190, 52, 15, '#f3e3b0') : path('M176 60 l14-24 14 24 z M190 66 l12-20 14 20 z', '#8da27b', 'opacity=".7"'),
    ground(120, 200, 104),
    path('M120 56 L222 196 H150 Z', p.dark),
    path('M120 56 L18 196 H150 Z', flat),
    path('M120 56 L150 196 H66 Z', p.dark, 'opacity=".35"'),
    path('M120 64 L140 196 H84 Z', '#20262b', 'opacity=".75"'),
    path('M120 64 L84 196 L70 196 Q104 140 120 64 Z', p.trim) + path('M120 64 L140 196 L152 196 Q134 140 120 64 Z', p.trim),
    line('M120 56 L116 44 M120 56 L125 44', WOOD.dark, 4),
    line('M34 174 L10 200 M206 174 L230 200', p.trim, 2),
    path('M110 78 L40 186 L54 186 Z', '#fff', 'opacity=".18"'),
  ].join('');
}

export function lantern({ p, round, chance }: Canvas): string {
  const flame = 6 * chance();
  return [
    circle(120, 130, 104, 'url(#glow)'),
    ground(120, 212, 48),
    line('M78 82 C70 18 170 18 162 82', p.dark, 5),
    path('M88 62 Q120 34 152 62 L158 82 H82 Z', round),
    box(108, 40, 24, 14, p.dark, 4),
    path('M86 84 H154 Q170 128 154 172 H86 Q70 128 86 84 Z', '#fff7dd', 'opacity=".9"'),
    path(`M120 ${r2(104 - flame)} C138 128 136 152 120 154 C104 152 102 128 120 ${r2(104 - flame)} Z`, '#f0a23a'),
    path('M120 124 C129 138 127 152 120 152 C113 152 111 138 120 124 Z', '#fff2c8'),
    line('M86 84 Q70 128 86 172 M154 84 Q170 128 154 172 M120 84 V100', p.dark, 4),
    path('M78 172 H162 L168 204 Q168 212 160 212 H80 Q72 212 72 204 Z', round),
    box(78, 168, 84, 8, p.dark, 4),
    circle(152, 192, 6, BRASS.base),
    path('M88 178 L84 206 L92 206 L95 178 Z', '#fff', 'opacity=".25"'),
  ].join('');
}

export function compass({ p, round, chance }: Canvas): string {
  const north = chance() * 80 - 40;
  return [
    ground(120, 210, 62),
    circle(120, 34, 14, 'none', `stroke="${BRASS.dark}" stroke-width="7"`),
    box(111, 42, 18, 18, BRASS.base, 4),
    circle(120, 134, 80, p.dark),
    circle(120, 130, 80, round),
    circle(120, 130, 64, '#fdfaf2'),
    times(
      24,
      (i) =>
        `<g transform="rotate(${i * 15} 120 130)">${line(i % 6 === 0 ? 'M120 72 V83' : 'M120 72 V77', '#3a444c', i % 6 === 0 ? 4 : 2)}</g>`,
    ),
    `<g transform="rotate(${r2(north)} 120 130)">`,
    path('M120 82 L130 130 H110 Z', '#c2452f') + path('M120 178 L130 130 H110 Z', '#5d6a73'),
    path('M120 82 L120 130 H110 Z', '#e06a50') + path('M120 178 L120 130 H110 Z', '#86929a'),
    '</g>',
    circle(120, 130, 7, BRASS.base) + circle(118, 128, 2.5, BRASS.light),
    path('M66 108 A60 60 0 0 1 118 72 A72 72 0 0 0 76 118 Z', '#fff', 'opacity=".75"'),
    ellipse(120, 130, 64, 64, 'none', `stroke="${p.dark}" stroke-width="3" opacity=".5"`),
  ].join('');
}
