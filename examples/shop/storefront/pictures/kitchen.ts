import { box, circle, ellipse, ground, line, path, times, type Canvas } from './canvas.ts';
import { METAL, WOOD } from './palette.ts';

export function mug({ p, round, chance }: Canvas): string {
  const bands = chance();
  return [
    ground(116, 196, 66),
    line('M158 98 C196 94 198 160 156 158', p.dark, 15),
    line('M158 97 C190 94 193 154 157 154', p.base, 8),
    path('M62 76 H166 L160 178 Q158 196 140 196 H88 Q70 196 68 178 Z', round),
    ellipse(114, 76, 52, 13, p.light),
    ellipse(114, 78, 45, 9.5, '#4a2f20'),
    ellipse(106, 77, 20, 3, '#7a5137'),
    bands < 0.4
      ? path('M64.6 116 Q114 130 163.7 116 L162.6 134 Q114 148 65.7 134 Z', p.trim, 'opacity=".85"')
      : bands < 0.7
        ? times(5, (i) => circle(80 + i * 17, 128 + Math.abs(2 - i) * -1.5, 4.5, p.trim, 'opacity=".8"'))
        : line('M67 150 Q114 163 161 150', p.trim, 3, 'opacity=".75"'),
    path('M74 92 Q76 150 82 184 L90 186 Q82 148 82 93 Z', '#fff', 'opacity=".22"'),
  ].join('');
}

export function teapot({ p, round, chance }: Canvas): string {
  return [
    ground(120, 196, 76),
    line('M176 116 C222 96 218 172 168 168', p.dark, 12),
    path('M66 138 C40 134 44 104 26 94 L40 86 C60 98 60 112 78 116 Z', p.base),
    path('M26 94 L40 86 L43 90 L31 98 Z', p.dark),
    path('M58 142 C58 96 88 84 120 84 C152 84 182 96 182 142 C182 176 158 194 120 194 C82 194 58 176 58 142 Z', round),
    ellipse(120, 88, 36, 9, p.dark),
    path('M86 86 C90 66 150 66 154 86 C144 93 96 93 86 86 Z', p.light),
    circle(120, 64, 8, p.trim),
    chance() < 0.5
      ? path('M59 136 Q120 156 181 136 L182 148 Q120 168 59 148 Z', p.trim, 'opacity=".7"')
      : times(3, (i) => line(`M${104 + i * 16} 134 q-6 12 0 24`, p.trim, 3, 'opacity=".75"')),
    path('M74 122 C80 106 92 98 104 96 C92 106 84 120 82 142 Z', '#fff', 'opacity=".25"'),
  ].join('');
}

export function bowl({ p, round, chance }: Canvas): string {
  const fruit = chance() < 0.5;
  return [
    ground(120, 190, 62),
    fruit
      ? [
          circle(96, 92, 22, '#d9873e'),
          circle(136, 88, 25, '#c9573f'),
          circle(116, 78, 20, '#e3b04b'),
          line('M136 66 q2-10 8-12', '#5f4a2c', 3),
        ].join('')
      : '',
    path('M34 100 H206 C206 152 172 184 146 186 H94 C68 184 34 152 34 100 Z', round),
    fruit ? '' : ellipse(120, 100, 86, 18, p.light) + ellipse(120, 103, 78, 14, p.dark, 'opacity=".8"'),
    fruit ? path('M34 100 Q120 122 206 100 L205 108 Q120 130 35 108 Z', p.light, 'opacity=".6"') : '',
    path('M90 184 H150 L146 194 H94 Z', p.dark),
    line('M40 124 Q120 152 200 124', p.trim, 3, 'opacity=".7"'),
    path('M50 118 C56 144 74 164 90 172 C78 158 66 140 62 120 Z', '#fff', 'opacity=".22"'),
  ].join('');
}

export function pan({ p, round, chance }: Canvas): string {
  return [
    ground(104, 178, 84),
    path('M172 126 L222 96 Q232 92 234 100 Q236 106 228 110 L176 142 Z', WOOD.base),
    path('M172 126 L190 115 L194 128 L176 142 Z', METAL.base),
    circle(226, 101, 2.6, WOOD.dark),
    path('M18 118 H186 Q186 172 148 176 H56 Q18 172 18 118 Z', round),
    ellipse(102, 118, 84, 24, p.light),
    ellipse(102, 120, 74, 19, p.dark),
    times(chance() < 0.5 ? 1 : 2, (i) => egg(74 + i * 50 + chance() * 14, 121)),
    path('M30 134 Q36 162 58 170 Q44 152 42 138 Z', '#fff', 'opacity=".18"'),
  ].join('');
}

function egg(x: number, y: number): string {
  return (
    ellipse(x, y, 26, 8, '#fffaf0') +
    ellipse(x - 2, y - 2, 11, 5, '#e9b23c') +
    ellipse(x - 5, y - 4, 3.5, 1.5, '#fff', 'opacity=".7"')
  );
}

export function board({ p, flat, chance }: Canvas): string {
  const isRound = chance() < 0.3;
  const grain = times(5, (i) => {
    const y = 92 + i * 20 + chance() * 6;
    return line(`M58 ${y.toFixed(1)} q36 ${(chance() * 12 - 6).toFixed(1)} 62 0 t62 0`, p.dark, 1.6, 'opacity=".35"');
  });
  return [
    ground(120, 202, 74),
    isRound
      ? circle(120, 128, 76, p.dark) +
        circle(120, 124, 76, flat) +
        circle(120, 124, 64, 'none', `stroke="${p.dark}" stroke-width="2" opacity=".4"`)
      : path('M104 72 V46 Q104 30 120 30 Q136 30 136 46 V72 Z', p.base) +
        box(44, 74, 152, 128, p.dark, 18) +
        box(44, 70, 152, 126, flat, 18) +
        circle(120, 48, 6.5, '#14202a', 'opacity=".3"'),
    grain,
    path('M104 150 q24-34 66-40 q-18 40-52 50 z', '#7d9c5a'),
    path('M104 150 q30-20 66-40 q-24 30-66 40 z', '#9bb877'),
    circle(92, 158, 15, '#c9472f') + circle(87, 153, 4, '#fff', 'opacity=".45"'),
    line('M92 144 q2-5 7-6', '#4c6a35', 3),
  ].join('');
}

export function jar({ p, round, chance }: Canvas): string {
  return [
    ground(120, 202, 56),
    box(62, 70, 116, 132, round, 22),
    box(70, 58, 100, 18, p.dark, 6),
    box(66, 36, 108, 26, WOOD.base, 9),
    box(66, 36, 108, 9, WOOD.light, 5),
    circle(120, 33, 8, WOOD.dark),
    box(86, 112, 68, 46, '#fbf6ea', 6),
    box(90, 116, 60, 38, 'none', 4, `stroke="${p.base}" stroke-width="1.5"`),
    line(chance() < 0.5 ? 'M100 130 h40 M106 142 h28' : 'M104 136 q8-14 16 0 t16 0', p.dark, 3),
    path('M72 86 Q70 150 74 188 L82 192 Q78 140 82 84 Z', '#fff', 'opacity=".25"'),
  ].join('');
}
