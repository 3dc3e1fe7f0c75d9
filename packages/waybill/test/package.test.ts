import assert from 'node:assert/strict';
import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROOT, run, type Outcome } from '../../../test/support/run.ts';

/** What users compile with; the native compiler and its two predecessors, each by its path. */
const COMPILERS = [
  { version: '5.9', program: 'node_modules/ts59/bin/tsc' },
  { version: '6.0', program: 'node_modules/ts60/bin/tsc' },
  { version: '7.0', program: 'node_modules/typescript/bin/tsc' },
] as const;

/** A cautious user's options, with nothing of ours: an older library, no Node types, declarations checked too. */
const CONSUMER_TSCONFIG = {
  compilerOptions: {
    target: 'es2022',
    lib: ['es2022', 'dom'],
    types: [] as string[],
    module: 'nodenext',
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    declaration: true,
    outDir: 'out',
  },
  include: ['**/*.ts'],
};

/** Drivers name Node's types, and the type tests run like the repository's own source. */
const NODE_OPTIONS = {
  target: 'es2024',
  lib: ['es2024', 'esnext.disposable'],
  types: ['node'],
  declaration: false,
  noEmit: true,
  allowImportingTsExtensions: true,
};

/** Linked and not copied, so that each finds its own dependencies beside it. */
const USED_BY_TYPE_TESTS = [
  'zod', 'valibot', 'arktype', '@types/node',
  'pg', '@types/pg', 'postgres', 'kysely', 'drizzle-orm', '@prisma/client', 'typeorm', 'knex', '@mikro-orm/postgresql', 'sequelize',
] as const;

interface Manifest {
  dependencies?: object;
  exports: Record<string, string | { types: string; default: string }>;
}

const DIST = join(ROOT, 'packages/waybill/dist');
const CLI_DIST = join(ROOT, 'packages/cli/dist');

describe('the packed library', () => {
  let work: string;
  let installed: string;
  let tarball: string;

  before(async () => {
    work = await mkdtemp(join(tmpdir(), 'waybill-package-'));
    succeed(await run('npm', ['run', '--silent', 'build', '--workspace', 'waybill']));
    tarball = await pack(DIST, work);
    installed = await install([tarball], join(work, 'user'));
  });
  after(() => rm(work, { recursive: true, force: true }));

  it('holds code, declarations and the papers, and no tests', async () => {
    const files = await filesOf(installed);
    for (const file of ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'index.js', 'index.d.ts']) assert.ok(files.includes(file), file);
    assert.deepEqual(files.filter((file) => file.includes('.test.')), []);
  });

  it('has no runtime dependencies', async () => {
    assert.equal((await manifestOf(installed)).dependencies, undefined);
    assert.deepEqual((await readdir(join(work, 'user/node_modules'))).filter((name) => !name.startsWith('.')), ['waybill']);
  });

  it('names no folder of the machine that built it', async () => {
    for (const file of await filesOf(installed)) {
      assert.ok(!(await readFile(join(installed, file), 'utf8')).includes(ROOT), file);
    }
  });

  it('has maps that end in source that is there', async () => {
    const maps = (await filesOf(installed)).filter((file) => file.endsWith('.map'));
    assert.ok(maps.length > 0);
    const inPackage = new Set(await filesOf(installed));
    for (const map of maps) {
      const { sources } = JSON.parse(await readFile(join(installed, map), 'utf8')) as { sources: string[] };
      for (const source of sources) {
        const file = resolve('/', dirname(map), source).slice(1);
        assert.ok(inPackage.has(file), `${map} names ${source}`);
      }
    }
  });

  it('runs in an empty folder, with nothing else installed', async () => {
    const folder = join(work, 'user');
    await cp(join(ROOT, 'test/consumer/program.ts'), join(folder, 'program.ts'));
    await mkdir(join(folder, '.waybill')); // the nearest one upwards is taken, and a folder above may have one
    const { code, output } = await run(process.execPath, ['program.ts'], { cwd: folder, env: embedded() });
    assert.equal(code, 0, output);
    assert.match(output, /^new price 9\.5$/m);
    assert.match(output, /^caught up true$/m);
  });

  it('says which package a URL or a time-table needs, and how to get it, where that is not installed', async () => {
    const folder = join(work, 'user');
    await writeFile(join(folder, 'missing.mjs'), MISSING_PACKAGES);
    const { code, output } = await run(process.execPath, ['missing.mjs'], { cwd: folder, env: embedded() });
    assert.equal(code, 0, output);
    assert.deepEqual(output.trim().split('\n'), ['pg', 'amqplib', '@azure/service-bus', 'croner'].map((name) => `DRIVER_MISSING npm install ${name}`), output);
  });

  it('loads by every subpath that it publishes', async () => {
    const folder = join(work, 'user');
    const subpaths = Object.entries((await manifestOf(installed)).exports).filter(([, target]) => typeof target !== 'string');
    assert.ok(subpaths.length > 1);
    const imports = subpaths.map(([subpath]) => `console.log(Object.keys(await import('${subpath.replace('.', 'waybill')}')).length > 0);`);
    await writeFile(join(folder, 'subpaths.mjs'), imports.join('\n'));
    const { code, output } = await run(process.execPath, ['subpaths.mjs'], { cwd: folder });
    assert.equal(code, 0, output);
    assert.deepEqual(output.trim().split('\n'), subpaths.map(() => 'true'));
  });

  it('passes publint and are-the-types-wrong', async () => {
    succeed(await publint(tarball));
    succeed(await attw(tarball));
  });

  // The same commands on a package of two files: what they notice there they would notice in ours.
  it('would be refused by publint with an export that is not there', async () => {
    const { code, output } = await publint(await small(work, 'no-such-export', { exports: { '.': { types: './index.d.ts', default: './gone.js' } } }));
    assert.notEqual(code, 0, output);
    assert.match(output, /gone\.js/);
  });

  it('would be refused by are-the-types-wrong with declarations that lead nowhere', async () => {
    assert.equal((await attw(await small(work, 'whole', {}))).code, 0);
    const { code, output } = await attw(await small(work, 'no-such-declaration', {}, `export * from './gone.js';\n`));
    assert.notEqual(code, 0, output);
    assert.match(output, /Internal resolution error/i);
  });

  for (const { version, program } of COMPILERS) {
    describe(`under TypeScript ${version}`, () => {
      const compile = (folder: string): Promise<Outcome> => run(process.execPath, [join(ROOT, program), '--project', '.'], { cwd: folder });

      it(`is compiled by ${version} and no other`, async () => {
        const { output } = await run(process.execPath, [join(ROOT, program), '--version']);
        assert.ok(output.startsWith(`Version ${version}.`), output);
      });

      // Each run takes seconds, so what must pass and what must be refused go together: the errors are those that were
      // planted, and no other.
      it('compiles a service without Node types but for the wrong data that it publishes, and its contracts name no schema library', async () => {
        const folder = await consumer(work, installed, `service-${version}`);
        await appendFile(join(folder, 'service.ts'), `\nexport const wrong = bus.publish(PriceChanged, { id: 1, price: 1, at: '' });\n`);
        await appendFile(join(folder, 'node_modules/waybill/index.d.ts'), `\nexport declare const broken: Waybillless;\n`);
        const { output } = await compile(folder);
        assert.deepEqual(errorsOf(output), ['node_modules/waybill/index.d.ts TS2304', 'service.ts TS2322']);
        const declarations = await readFile(join(folder, 'out/contracts.d.ts'), 'utf8');
        assert.match(declarations, /PriceChanged: EventContract<"catalog\.price-changed"/);
        assert.doesNotMatch(declarations, /zod/i);
      });

      it('finds the declarations of every published subpath whole', async () => {
        const folder = await consumer(work, installed, `subpaths-${version}`, NODE_OPTIONS);
        for (const file of ['contracts.ts', 'service.ts']) await rm(join(folder, file));
        const subpaths = Object.entries((await manifestOf(installed)).exports).filter(([, target]) => typeof target !== 'string');
        await writeFile(join(folder, 'all.ts'), subpaths.map(([subpath], i) => `export * as s${i} from '${subpath.replace('.', 'waybill')}';\n`).join(''));
        await appendFile(join(folder, 'node_modules/waybill/testing/index.d.ts'), `\nexport declare const broken: Waybillless;\n`);
        const { output } = await compile(folder);
        assert.deepEqual(errorsOf(output), ['node_modules/waybill/testing/index.d.ts TS2304']);
      });

      it('accepts and refuses what the type tests say, also of the transactions and root clients of nine database libraries', async () => {
        // Without checking declarations: theirs do not all stand it (Drizzle's name databases that are not installed).
        const folder = await consumer(work, installed, `types-${version}`, { ...NODE_OPTIONS, skipLibCheck: true });
        await cp(join(ROOT, 'packages/waybill/test/types'), join(folder, 'types'), { recursive: true });
        await writeFile(join(folder, 'types/wrong.ts'), `import { same } from './equal.ts';\nimport type createSql from 'postgres';\nexport const wrong = (sql: ReturnType<typeof createSql>) => same<typeof sql, string>(true);\n`);
        const { output } = await compile(folder);
        assert.deepEqual(errorsOf(output), ['types/wrong.ts TS2345']);
      });
    });
  }
});

describe('the packed command line', () => {
  let work: string;
  let tarball: string;
  let folder: string;

  before(async () => {
    work = await mkdtemp(join(tmpdir(), 'waybill-cli-package-'));
    succeed(await run('npm', ['run', '--silent', 'build', '--workspace', '@waybill/cli']));
    if (!existsSync(DIST)) succeed(await run('npm', ['run', '--silent', 'build', '--workspace', 'waybill'])); // where this test alone was asked for
    tarball = await pack(CLI_DIST, work);
    folder = join(work, 'user');
    // Its only dependency comes along from here: no registry is asked.
    const commander = dirname(createRequire(join(ROOT, 'packages/cli/package.json')).resolve('commander'));
    await install([tarball, await pack(DIST, work), await pack(commander, work)], folder);
  });
  after(() => rm(work, { recursive: true, force: true }));

  it('brings commander and nothing else, no tests, and names no folder of the machine that built it', async () => {
    const installed = join(folder, 'node_modules/@waybill/cli');
    assert.deepEqual((await manifestOf(installed)).dependencies, { commander: '15.1.0' });
    assert.deepEqual((await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.')).toSorted(), ['@waybill', 'commander', 'waybill']);
    const files = await filesOf(installed);
    for (const file of ['package.json', 'README.md', 'LICENSE', 'main.js', 'src/main.ts']) assert.ok(files.includes(file), file);
    assert.deepEqual(files.filter((file) => file.includes('.test.') || file.startsWith('test')), []);
    for (const file of files) assert.ok(!(await readFile(join(installed, file), 'utf8')).includes(ROOT), file);
  });

  it('runs in an empty folder beside the library: plans, applies, and finds nothing more to do', async () => {
    await writeFile(join(folder, 'bus.ts'), PLAIN_BUS);
    await mkdir(join(folder, '.waybill')); // the nearest one upwards is taken, and a folder above may have one
    const waybill = (...args: string[]): Promise<Outcome> => run(join(folder, 'node_modules/.bin/waybill'), args, { cwd: folder, env: { ...embedded(), WAYBILL_APP: './bus.ts' } });
    const planned = await waybill('topology');
    assert.equal(planned.code, 3, planned.output);
    assert.match(planned.output, /^missing +subscription +basket\.prices/m);
    assert.match(succeed(await waybill('topology', 'apply', '--yes')).output, /^made +subscription +basket\.prices/m);
    assert.match(succeed(await waybill('topology')).output, /^there +subscription +basket\.prices/m);
  });

  it('passes publint', async () => {
    succeed(await publint(tarball));
  });
});

/** Without a schema library, which is not installed there. */
const PLAIN_BUS = `import { createBus, defineEvent } from 'waybill';

const anything = { '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) } } as const;
export const bus = createBus({ service: 'basket' });
bus.subscribe(defineEvent('catalog.price-changed', { schema: anything }), { name: 'prices' }, () => {});
`;

const MISSING_PACKAGES = `import { createBus, defineEvent } from 'waybill';
const anything = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } };
const Noted = defineEvent('desk.noted', { schema: anything });
const azure = 'Endpoint=sb://localhost;SharedAccessKeyName=name;SharedAccessKey=key';
const memory = { store: 'memory:', transport: 'memory:' };
for (const [how, use] of [
  [{ store: 'postgres://localhost/desk' }, (bus) => bus.publish(Noted, {})],
  [{ transport: 'amqp://localhost' }, (bus) => bus.publish(Noted, {})],
  [{ transport: azure }, (bus) => bus.publish(Noted, {})],
  [{}, (bus) => bus.schedule('nightly', { cron: '0 3 * * *' }, Noted.of({}))],
]) {
  await using bus = createBus({ service: 'desk', ...memory, ...how });
  await use(bus).then(() => console.log('nothing was missing'), (error) => console.log(error.code, /npm install [^\\s;]+/.exec(error.message)?.[0]));
}
`;

const publint = (tgz: string): Promise<Outcome> => run(process.execPath, [join(ROOT, 'node_modules/.bin/publint'), 'run', tgz, '--strict']);
const attw = (tgz: string): Promise<Outcome> => run(process.execPath, [join(ROOT, 'node_modules/.bin/attw'), tgz, '--profile', 'esm-only']);

async function pack(folder: string, destination: string): Promise<string> {
  await mkdir(destination, { recursive: true });
  const { output } = succeed(await run('npm', ['pack', '--silent', '--pack-destination', destination], { cwd: folder }));
  return join(destination, output.trim());
}

/** Packs a package of an `index.js` and its declarations. */
async function small(work: string, name: string, manifest: object, more = ''): Promise<string> {
  const folder = join(work, name);
  await mkdir(folder);
  const whole = { name, version: '1.0.0', type: 'module', exports: { '.': { types: './index.d.ts', default: './index.js' } }, ...manifest };
  await writeFile(join(folder, 'package.json'), JSON.stringify(whole));
  await writeFile(join(folder, 'index.js'), 'export const one = 1;\n');
  await writeFile(join(folder, 'index.d.ts'), `export declare const one: number;\n${more}`);
  return pack(folder, join(work, `${name}-packed`));
}

/** File and code of each error that a compiler printed, sorted. */
function errorsOf(output: string): string[] {
  const errors = [...output.matchAll(/^(\S+?)\(\d+,\d+\): error (TS\d+)/gm)].map((match) => `${match[1]} ${match[2]}`);
  assert.equal(errors.length, output.match(/error TS/g)?.length ?? 0, output);
  return errors.toSorted();
}

/** Installs tarballs into an empty folder without asking any registry, and returns where the library landed. */
async function install(tarballs: readonly string[], folder: string): Promise<string> {
  await mkdir(folder);
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  succeed(await run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=optional', ...tarballs], { cwd: folder }));
  return join(folder, 'node_modules/waybill');
}

/** A user's project around the installed package, with zod and Node's types where the compiler finds them. */
async function consumer(work: string, installed: string, name: string, options: object = {}): Promise<string> {
  const folder = join(work, name);
  await mkdir(join(folder, 'node_modules/@types'), { recursive: true });
  await cp(installed, join(folder, 'node_modules/waybill'), { recursive: true });
  for (const dependency of USED_BY_TYPE_TESTS) {
    await mkdir(dirname(join(folder, 'node_modules', dependency)), { recursive: true });
    await symlink(join(ROOT, 'node_modules', dependency), join(folder, 'node_modules', dependency));
  }
  for (const file of ['contracts.ts', 'service.ts']) await cp(join(ROOT, 'test/consumer', file), join(folder, file));
  const tsconfig = { ...CONSUMER_TSCONFIG, compilerOptions: { ...CONSUMER_TSCONFIG.compilerOptions, ...options } };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  return folder;
}

async function manifestOf(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Every file below a folder, with slashes, sorted. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}

/** The embedded default, whatever the developer's shell has set. */
function embedded(): NodeJS.ProcessEnv {
  return { NODE_ENV: 'development', WAYBILL_STORE: undefined, WAYBILL_TRANSPORT: undefined };
}

function succeed(outcome: Outcome): Outcome {
  assert.equal(outcome.code, 0, outcome.output);
  return outcome;
}
