import { box, circle, ellipse, ground, line, path, round as r2, times, type Canvas } from './canvas.ts';
import { BRASS, WOOD } from './palette.ts';

export function notebook({ p, flat, chance }: Canvas): string {
  const label = chance();
  return [
    ground(124, 208, 66),
    path('M72 44 L184 36 Q192 36 192 44 L196 196 Q196 204 188 204 L84 210 Z', '#e9e2d0'),
    times(4, (i) => line(`M${188 + i} ${50 + i * 2} L${191 + i} 196`, '#c9bfa6', 1)),
    path('M60 40 L170 32 Q180 32 180 42 L184 196 Q184 206 174 206 L74 212 Q60 212 60 200 Z', flat),
    path('M60 40 L80 38.5 L86 211 L74 212 Q60 212 60 200 Z', p.dark),
    label < 0.5
      ? box(106, 74, 54, 36, '#fbf6ea', 4, 'transform="rotate(-3 133 92)"') + line('M114 88 l36 -2 M118 99 l26 -1.5', p.dark, 3)
      : circle(134, 96, 20, 'none', `stroke="${p.trim}" stroke-width="4"`) + circle(134, 96, 5, p.trim),
    path('M150 33.5 L158 33 L162 207 L154 207.5 Z', p.trim, 'opacity=".85"'),
    path('M112 206 L114 226 L120 219 L126 225 L124 205 Z', p.trim),
    path('M90 44 L96 43.5 L100 208 L94 208.5 Z', '#fff', 'opacity=".16"'),
  ].join('');
}

export function pencils({ p, round }: Canvas): string {
  const tones = [p.dark, p.base, p.light, p.trim, p.base];
  return [
    ground(120, 206, 54),
    times(5, (i) => {
      const x = 84 + i * 15;
      const tilt = (i - 2) * 6;
      const top = 44 + Math.abs(i - 2) * 9;
      return `<g transform="rotate(${tilt} ${x} 200)">${path(`M${x} ${top - 22} L${x + 6.5} ${top} H${x - 6.5} Z`, WOOD.light)}${path(`M${x} ${top - 22} L${x + 2.4} ${top - 14} H${x - 2.4} Z`, tones[i]!)}${box(x - 6.5, top, 13, 120, tones[i]!)}${box(x - 6.5, top, 4, 120, '#fff', 0, 'opacity=".25"')}</g>`;
    }),
    path('M72 122 H168 L162 196 Q161 206 150 206 H90 Q79 206 78 196 Z', round),
    ellipse(120, 122, 48, 9, p.dark, 'opacity=".0"'),
    path('M72 122 H168 L167 132 H73 Z', p.light),
    line('M76 160 Q120 172 164 160', p.trim, 4, 'opacity=".7"'),
    path('M80 134 L86 196 L93 197 L88 134 Z', '#fff', 'opacity=".2"'),
  ].join('');
}

export function globe({ p, round, chance }: Canvas): string {
  const turn = chance() * 30 - 15;
  return [
    ground(120, 212, 52),
    ellipse(120, 206, 44, 9, WOOD.dark) + ellipse(120, 202, 44, 9, WOOD.base),
    box(114, 178, 12, 24, WOOD.base),
    line('M62 48 A84 84 0 1 0 186 150', BRASS.dark, 7),
    circle(120, 104, 68, round),
    `<clipPath id="ball"><circle cx="120" cy="104" r="68"/></clipPath><g clip-path="url(#ball)"><g transform="rotate(${r2(turn)} 120 104)">`,
    path('M72 62 q22-16 40-4 q14 10 2 22 q-14 6-12 22 q-4 18-20 8 q-18-10-16-26 z', p.trim, 'opacity=".9"'),
    path('M132 92 q22-10 38 4 q10 18-4 34 q-16 22-28 8 q-12-22-6-46 z', p.trim, 'opacity=".9"'),
    path('M96 138 q14-6 22 4 q4 14-10 18 q-16-4-12-22 z', p.trim, 'opacity=".9"'),
    path('M142 48 q16-4 24 8 q-8 10-22 6 z', p.trim, 'opacity=".9"'),
    '</g>',
    times(3, (i) => ellipse(120, 104, 22 + i * 22, 68, 'none', `stroke="${p.dark}" stroke-width="1" opacity=".35"`)),
    line('M52 104 H188 M60 70 H180 M60 138 H180', p.dark, 1, 'opacity=".35"'),
    path('M60 80 A66 66 0 0 1 112 38 A80 80 0 0 0 74 96 Z', '#fff', 'opacity=".3"'),
    '</g>',
    circle(66, 46, 6, BRASS.base) + circle(174, 162, 6, BRASS.base),
  ].join('');
}
