import { box, circle, ground, line, path, round as r2, times, type Canvas } from './canvas.ts';
import { WOOD } from './palette.ts';

export function beanie({ p, flat, chance }: Canvas): string {
  const pompom = chance() < 0.4;
  return [
    ground(120, 196, 74),
    pompom
      ? times(14, (i) =>
          circle(
            120 + Math.cos(i * 0.9) * (6 + (i % 4) * 5),
            46 + Math.sin(i * 0.9) * (6 + (i % 4) * 4),
            9,
            i % 2 ? p.trim : p.light,
          ),
        )
      : '',
    path('M50 156 C46 92 76 50 120 50 C164 50 194 92 190 156 Z', flat),
    times(7, (i) => line(`M${r2(66 + i * 18)} 152 Q${r2(84 + i * 12)} 96 ${r2(108 + i * 4)} 56`, p.dark, 3, 'opacity=".3"')),
    box(42, 146, 156, 44, p.dark, 16),
    box(42, 142, 156, 44, p.base, 16),
    times(15, (i) => line(`M${52 + i * 9.7} 148 V180`, p.dark, 3, 'opacity=".4"')),
    pompom ? '' : box(150, 152, 30, 22, WOOD.base, 3) + line('M158 163 h14', WOOD.trim, 3),
    path('M62 136 C62 98 80 70 102 62 C86 80 78 104 78 138 Z', '#fff', 'opacity=".22"'),
  ].join('');
}

export function scarf({ p, flat, chance }: Canvas): string {
  const checks = chance() < 0.5;
  const tail = 'M104 96 L150 92 L166 200 L118 206 Z';
  return [
    ground(124, 214, 62),
    path('M92 92 L126 98 L104 196 L64 190 Z', p.dark),
    times(5, (i) => line(`M${68 + i * 8.5} 191 l-3 16`, p.dark, 4)),
    path(tail, flat),
    `<clipPath id="tail"><path d="${tail}"/></clipPath><g clip-path="url(#tail)">`,
    checks
      ? times(5, (i) => line(`M96 ${118 + i * 20} L176 ${110 + i * 20}`, p.trim, 6, 'opacity=".6"')) +
        times(3, (i) => line(`M${114 + i * 14} 90 L${128 + i * 14} 210`, p.dark, 4, 'opacity=".5"'))
      : times(4, (i) => line(`M96 ${124 + i * 24} L176 ${116 + i * 24}`, i % 2 ? p.trim : p.dark, 9, 'opacity=".7"')),
    '</g>',
    times(6, (i) => line(`M${122 + i * 8.4} ${r2(206 - i * 1.1)} l2 16`, p.base, 4)),
    path('M46 76 C46 40 194 36 196 74 C198 108 160 118 124 118 C84 118 46 110 46 76 Z', p.base),
    path('M70 70 C74 50 168 48 172 70 C172 88 150 92 122 92 C94 92 70 88 70 70 Z', p.dark),
    path('M46 76 C46 110 84 118 124 118 C160 118 198 108 196 74 C190 98 156 106 122 106 C84 106 52 98 46 76 Z', flat),
    times(6, (i) => line(`M${66 + i * 22} ${98 + (i < 3 ? i * 3 : (5 - i) * 3)} l4 14`, p.trim, 5, 'opacity=".5"')),
    path('M54 70 C56 54 92 46 122 46 C96 52 74 60 70 76 Z', '#fff', 'opacity=".25"'),
  ].join('');
}

export function socks({ p, flat, chance }: Canvas): string {
  const striped = chance() < 0.6;
  const sock = (x: number, y: number, paint: string, id: string): string => {
    const shape = `M${x} ${y} H${x + 50} V${y + 84} Q${x + 52} ${y + 96} ${x + 66} ${y + 104} L${x + 88} ${y + 118} Q${x + 104} ${y + 132} ${x + 92} ${y + 146} Q${x + 84} ${y + 156} ${x + 64} ${y + 152} L${x + 20} ${y + 140} Q${x} ${y + 132} ${x} ${y + 106} Z`;
    return [
      path(shape, paint),
      `<clipPath id="${id}"><path d="${shape}"/></clipPath><g clip-path="url(#${id})">`,
      striped
        ? times(4, (i) => box(x, y + 30 + i * 18, 60, 8, p.trim, 0, 'opacity=".75"'))
        : times(12, (i) => circle(x + 10 + (i % 3) * 16, y + 34 + Math.floor(i / 3) * 20, 3.5, p.trim, 'opacity=".8"')),
      circle(x + 92, y + 142, 28, p.dark, 'opacity=".7"'),
      circle(x + 6, y + 128, 24, p.dark, 'opacity=".7"'),
      box(x, y, 52, 20, p.dark, 0, 'opacity=".55"'),
      times(7, (i) => line(`M${x + 4 + i * 7} ${y + 2} v15`, p.light, 2, 'opacity=".5"')),
      box(x + 3, y + 22, 8, 90, '#fff', 4, 'opacity=".2"'),
      '</g>',
    ].join('');
  };
  return ground(126, 204, 82) + sock(112, 38, p.base, 'left') + sock(58, 50, flat, 'right');
}

export function umbrella({ p, chance }: Canvas): string {
  const tones = chance() < 0.5 ? [p.dark, p.base, p.light, p.base] : [p.base, p.trim, p.base, p.trim];
  return [
    ground(126, 222, 34),
    line('M120 40 V188 Q120 214 142 214 Q160 214 160 196', WOOD.dark, 7),
    line('M120 26 V40', WOOD.dark, 6),
    path('M20 124 C20 70 66 36 120 36 C92 60 74 88 68 124 Q44 104 20 124 Z', tones[0]!),
    path('M68 124 C74 88 92 60 120 36 V124 Q94 102 68 124 Z', tones[1]!),
    path('M172 124 C166 88 148 60 120 36 V124 Q146 102 172 124 Z', tones[2]!),
    path('M220 124 C220 70 174 36 120 36 C148 60 166 88 172 124 Q196 104 220 124 Z', tones[3]!),
    line('M68 124 C74 88 92 60 120 36 C148 60 166 88 172 124', p.dark, 1.5, 'opacity=".4"'),
    path('M34 106 C40 78 66 54 100 44 C74 62 56 84 50 110 Z', '#fff', 'opacity=".22"'),
  ].join('');
}
