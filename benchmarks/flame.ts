/**
 * CPU profiles as flame graphs: `node benchmarks/flame.ts OUT.svg TITLE PROFILE…` lays profiles (of `--cpu-prof`, or of
 * `PROFILE=folder npm run bench`) over each other and draws where the time went that was not idle: width is time, what was
 * called stands on its caller, colour is whose code it is. A picture without scripts; a browser tells each bar's name and
 * share. What is narrower than a pixel is not drawn.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Profiler } from 'node:inspector/promises';

interface Bar {
  readonly name: string;
  readonly whose: string;
  us: number;
  readonly above: Map<string, Bar>;
}

const [width, height, narrowest] = [1200, 15, 1];
const colours: readonly (readonly [RegExp, string])[] = [
  [/^waybill/, '#e8a33d'],
  [/^pg/, '#5b8db8'],
  [/^amqplib/, '#d9694f'],
  [/^garbage/, '#888888'],
  [/^node/, '#9fbf8f'],
  [/./, '#b79ac8'],
];

/** As short as it still says what it is: `publish/publish.ts prepare`, `pg query`, `node writev`. */
function named({ functionName, url }: Profiler.ProfileNode['callFrame']): { name: string; whose: string } {
  const fn = functionName === '' ? '·' : functionName;
  if (functionName === '(garbage collector)') return { name: 'garbage collector', whose: 'garbage' };
  const library = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
  if (library !== undefined) return { name: `${library} ${fn}`, whose: library };
  const own = /packages\/waybill\/src\/(.+)\.ts$/.exec(url)?.[1];
  if (own !== undefined) return { name: `${own} ${fn}`, whose: 'waybill' };
  const bench = /benchmarks\/(.+)\.ts$/.exec(url)?.[1];
  if (bench !== undefined) return { name: `benchmark ${bench} ${fn}`, whose: 'benchmark' };
  return { name: `${url.replace(/^node:(?:internal\/)?/, '')} ${fn}`.trim(), whose: 'node' };
}

/** Not work: waiting, and the profiler itself. */
const isNothing = ({ functionName, url }: Profiler.ProfileNode['callFrame']): boolean => /^\((?:idle|program)\)$/.test(functionName) || url === 'node:inspector';

export function stacks(profiles: readonly Profiler.Profile[]): Bar {
  const root: Bar = { name: 'all', whose: 'all', us: 0, above: new Map() };
  for (const { nodes, samples = [], timeDeltas = [] } of profiles) {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const callers = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child): [number, number] => [child, id])));
    samples.forEach((id, i) => {
      const stack: Profiler.ProfileNode[] = [];
      for (let at: number | undefined = id; at !== undefined; at = callers.get(at)) stack.unshift(byId.get(at)!);
      if (stack.some(({ callFrame }) => isNothing(callFrame))) return;
      let bar = root;
      bar.us += timeDeltas[i]!;
      for (const { callFrame } of stack.slice(1)) {
        const { name, whose } = named(callFrame);
        if (!bar.above.has(name)) bar.above.set(name, { name, whose, us: 0, above: new Map() });
        bar = bar.above.get(name)!;
        bar.us += timeDeltas[i]!;
      }
    });
  }
  return root;
}

export function flame(root: Bar, title: string): string {
  const drawn: { bar: Bar; x: number; level: number }[] = [];
  const draw = (bar: Bar, x: number, level: number): void => {
    if ((bar.us / root.us) * width < narrowest) return;
    if (level > 0) drawn.push({ bar, x, level });
    let at = x;
    for (const above of [...bar.above.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      draw(above, at, level + 1);
      at += (above.us / root.us) * width;
    }
  };
  draw(root, 0, 0);
  const levels = Math.max(...drawn.map(({ level }) => level));
  const bottom = (levels + 2) * height;
  const text = (words: string): string => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  const shapes = drawn.map(({ bar, x, level }) => {
    const [w, y] = [(bar.us / root.us) * width, bottom - level * height];
    const colour = colours.find(([whose]) => whose.test(bar.whose))![1];
    const room = Math.floor((w - 4) / 5.6);
    const label = room < 4 ? '' : `<text x="${(x + 2).toFixed(1)}" y="${y + 11}">${text(bar.name.slice(0, room))}</text>`;
    return `<g><title>${text(bar.name)}: ${((100 * bar.us) / root.us).toFixed(1)} %</title><rect x="${x.toFixed(1)}" y="${y}" width="${w.toFixed(1)}" height="${height - 1}" fill="${colour}"/>${label}</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${bottom + height + 4}" font-family="monospace" font-size="9.5">
<rect width="100%" height="100%" fill="#fff"/>
<text x="4" y="12" font-size="12">${text(title)} (orange: Waybill, blue: pg, red: amqplib, green: Node, grey: garbage, violet: others)</text>
${shapes.join('\n')}
</svg>
`;
}

if (import.meta.main) {
  const [out, title, ...files] = process.argv.slice(2);
  if (out === undefined || title === undefined || files.length === 0) throw new Error('node benchmarks/flame.ts OUT.svg TITLE PROFILE…');
  writeFileSync(out, flame(stacks(files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as Profiler.Profile)), title));
}
