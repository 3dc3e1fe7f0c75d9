/**
 * What a user waits for before anything happens: the package's size, its import, a process from its start to its first
 * handled message, what it holds of memory then, beside a bare Node, and the type checking of a consumer with five hundred contracts beside the same schemas alone. All of
 * the built package, as it is published.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { atMost, median, type Ratio, type Report } from '../report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = join(root, 'packages/waybill/dist');
const peersHome = join(root, 'benchmarks/peers/packages');
const contracts = 500;

export async function start({ quick }: { readonly quick: boolean }): Promise<Report> {
  const times = quick ? 5 : 15;
  execFileSync(process.execPath, [join(root, 'packages/waybill/scripts/build.ts')], { stdio: 'ignore' });
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: dist, encoding: 'utf8' })) as { size: number; unpackedSize: number }[];
  const dir = await mkdtemp(join(tmpdir(), 'waybill-start-'));
  try {
    const imports: Record<string, number> = { waybill: importMs(pathToFileURL(join(dist, 'index.js')).href, times) };
    for (const [name, entry] of Object.entries(peers())) imports[name] = importMs(entry, times);
    const first = await firstMessageMs(dir, times);
    const types = await checkTypes(dir);
    const others = Object.entries(imports).filter(([name]) => name !== 'waybill').map(([, ms]) => ms);
    const ratios: Ratio[] = [
      atMost(`type checking beside ${contracts} bare schemas`, types.ours.checkMs / types.bare.checkMs, 3.5),
      atMost('instantiations per contract with its use', (types.ours.instantiations - types.bare.instantiations) / contracts, 1_000),
    ];
    if (others.length > 0) ratios.push(atMost('import, beside the smallest of the peers', imports['waybill']! / Math.min(...others), 1));
    return {
      name: 'start',
      ratios,
      correct: first.handled === times,
      packedBytes: packed!.size,
      unpackedBytes: packed!.unpackedSize,
      importMs: imports,
      firstMessageMs: first.ms,
      residentMegabytes: { idle: first.megabytes, bareNode: bareMegabytes(dir) },
      types,
    };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Those of the end-to-end benchmark, where they have been installed for it. */
function peers(): Record<string, string> {
  const names = ['pg-boss', 'graphile-worker', 'bullmq', 'pg-transactional-outbox'];
  return Object.fromEntries(names.filter((name) => existsSync(join(peersHome, 'node_modules', name))).map((name) => [name, name]));
}

function importMs(entry: string, times: number): number {
  const code = `const began = performance.now(); await import(${JSON.stringify(entry)}); console.log(performance.now() - began); process.exit(0)`;
  return median(Array.from({ length: times }, () => Number(node(['--input-type=module', '-e', code], peersHome))));
}

async function firstMessageMs(dir: string, times: number): Promise<{ ms: number; handled: number; megabytes: number }> {
  const file = join(dir, 'first.mjs');
  await writeFile(
    file,
    `import { createBus, defineEvent } from ${JSON.stringify(pathToFileURL(join(dist, 'index.js')).href)};
const schema = { '~standard': { version: 1, vendor: 'bench', validate: (value) => ({ value }) } };
const Happened = defineEvent('bench.happened', { schema });
const at = process.argv[2];
const quiet = { debug() {}, info() {}, warn() {}, error: console.error };
const bus = createBus({ service: 'bench', store: 'sqlite:' + at + '/bench.db', transport: 'sqlite:' + at, logger: quiet });
const handled = new Promise((resolve) => bus.subscribe(Happened, (event) => resolve(event.n)));
await bus.start();
await bus.publish(Happened, { n: 7 });
const n = await handled;
const tookMs = performance.now(); // since the process began
await new Promise((resolve) => setTimeout(resolve, 200)); // at rest
const residentBytes = process.memoryUsage.rss();
await bus.stop();
console.log(JSON.stringify({ n, tookMs, residentBytes }));
`,
  );
  const runs: number[] = [];
  const resident: number[] = [];
  for (let i = 0; i < times; i++) {
    const at = join(dir, `run-${i}`);
    await mkdir(at);
    const { n, tookMs, residentBytes } = JSON.parse(node([file, at], dir)) as { n: number; tookMs: number; residentBytes: number };
    if (n === 7) runs.push(tookMs);
    resident.push(residentBytes / 1e6);
  }
  return { ms: median(runs), handled: runs.length, megabytes: median(resident) };
}

function bareMegabytes(dir: string): number {
  return Number(node(['--input-type=module', '-e', 'setTimeout(() => console.log(process.memoryUsage.rss()), 200)'], dir)) / 1e6;
}

interface Checked {
  readonly checkMs: number;
  readonly instantiations: number;
}

/** Checked by the compiler that the workspace uses, in a project of its own, declarations of the library included. */
async function checkTypes(dir: string): Promise<{ ours: Checked; bare: Checked }> {
  const modules = join(dir, 'node_modules');
  await mkdir(modules);
  await symlink(dist, join(modules, 'waybill'));
  await symlink(join(root, 'node_modules/zod'), join(modules, 'zod'));
  await mkdir(join(modules, '@types'));
  await symlink(join(root, 'node_modules/@types/node'), join(modules, '@types/node'));
  await writeFile(join(dir, 'package.json'), '{ "private": true, "type": "module" }');
  const schema = (n: number): string => `z.object({ id: z.string(), n${n}: z.number(), lines: z.array(z.object({ product: z.string(), count: z.number() })), at: z.string().optional() })`;
  const lines = (line: (n: number) => string): string => Array.from({ length: contracts }, (_, n) => line(n)).join('\n');
  const bare = lines((n) => `const S${n} = ${schema(n)};\nexport const v${n} = S${n}.parse({}).n${n};`);
  const ours = lines(
    (n) => `const C${n} = defineEvent('bench.c${n}', { schema: ${schema(n)}, key: (e) => e.id });
bus.subscribe(C${n}, { name: 's${n}', order: 'by-key' }, async (event, ctx) => void (await ctx.publish(C${n}, { ...event, n${n}: event.n${n} + 1 })));`,
  );
  const check = async (name: string, text: string): Promise<Checked> => {
    await writeFile(join(dir, `${name}.ts`), text);
    const compilerOptions = { strict: true, target: 'es2024', lib: ['es2024', 'esnext.disposable'], module: 'nodenext', skipLibCheck: true, noEmit: true, types: ['node'] };
    await writeFile(join(dir, `${name}.json`), JSON.stringify({ compilerOptions, files: [`${name}.ts`] }));
    const output = node([join(root, 'node_modules/typescript/bin/tsc'), '--extendedDiagnostics', '--singleThreaded', '--project', `${name}.json`], dir);
    const read = (what: string): number => Number(new RegExp(`^${what}:\\s+([\\d.]+)`, 'm').exec(output)?.[1] ?? NaN);
    return { checkMs: read('Check time') * 1_000, instantiations: read('Instantiations') };
  };
  await check('warm', `import * as z from 'zod';\n${bare}`);
  return {
    bare: await check('bare', `import * as z from 'zod';\n${bare}`),
    ours: await check('ours', `import { createBus, defineEvent } from 'waybill';\nimport * as z from 'zod';\nconst bus = createBus({ service: 'bench' });\n${ours}`),
  };
}

function node(args: readonly string[], cwd: string): string {
  return execFileSync(process.execPath, args, { cwd, encoding: 'utf8' });
}
