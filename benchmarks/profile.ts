/**
 * Where Node's time goes, by whose code asked for it: `PROFILE=FOLDER npm run bench -- NAME` writes a CPU profile of each
 * stretch that the benchmark measures; `node benchmarks/profile.ts FILE…` prints each as shares. What Node itself does is
 * counted to the nearest caller that is a library or a room of Waybill's.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector/promises';
import { join } from 'node:path';

const folder = process.env['PROFILE'];
let count = 0;

/** Runs `work`; with `PROFILE` set, under the profiler. */
export async function profiled(work: () => Promise<void>): Promise<void> {
  if (folder === undefined) return work();
  mkdirSync(folder, { recursive: true });
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 200 });
  await session.post('Profiler.start');
  try {
    await work();
  } finally {
    const { profile } = await session.post('Profiler.stop');
    session.disconnect();
    writeFileSync(join(folder, `${String(++count).padStart(3, '0')}.cpuprofile`), JSON.stringify(profile));
  }
}

type Node = Profiler.ProfileNode & { parent?: Node };

/** Shares of the time that was not idle, largest first. */
export function origins(profile: Profiler.Profile): [origin: string, share: number][] {
  const nodes = new Map<number, Node>(profile.nodes.map((node) => [node.id, node]));
  for (const node of nodes.values()) for (const child of node.children ?? []) nodes.get(child)!.parent = node;
  const spent = new Map<string, number>();
  let all = 0;
  profile.samples!.forEach((id, i) => {
    const node = nodes.get(id)!;
    const origin = originOf(node);
    if (origin === undefined) return;
    const us = profile.timeDeltas![i]!;
    spent.set(origin, (spent.get(origin) ?? 0) + us);
    all += us;
  });
  return [...spent].map(([origin, us]): [string, number] => [origin, us / all]).sort(([, a], [, b]) => b - a);
}

function originOf(node: Node): string | undefined {
  if (node.callFrame.functionName === '(idle)') return undefined;
  if (node.callFrame.functionName === '(garbage collector)') return 'garbage collector';
  for (let at: Node | undefined = node; at; at = at.parent) {
    const { url } = at.callFrame;
    if (url.includes('node:inspector')) return undefined;
    const library = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
    if (library !== undefined) return library.startsWith('pg') ? 'pg' : library;
    const room = /packages\/waybill\/src\/((?:stores|transports)\/[^/]+|[^/]+)/.exec(url)?.[1];
    if (room !== undefined) return `waybill ${room}`;
  }
  return 'node';
}

if (import.meta.main) {
  for (const file of process.argv.slice(2)) {
    console.log(file);
    for (const [origin, share] of origins(JSON.parse(readFileSync(file, 'utf8')) as Profiler.Profile)) {
      if (share >= 0.005) console.log(`${(100 * share).toFixed(1).padStart(6)} %  ${origin}`);
    }
  }
}
