import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access, cp, glob, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { ROOT } from './support/run.ts';

const run = promisify(execFile);
const read = (file: string): Promise<string> => readFile(join(ROOT, file), 'utf8');

/** Links of a page to files that do not exist. */
async function deadLinks(page: string, text?: string): Promise<string[]> {
  const dead: string[] = [];
  for (const [, target] of (text ?? (await read(page))).matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)) {
    if (/^[a-z]+:/.test(target!)) continue;
    await access(join(ROOT, dirname(page), target!)).catch(() => dead.push(`${page}: ${target}`));
  }
  return dead;
}

/** The code blocks of a page in one language. */
function blocks(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]!);
}

/** Runs an example as a newcomer would: in a folder of its own, beside the installed packages. */
async function runExample(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-example-'));
  try {
    await cp(join(ROOT, 'docs/examples', name), join(folder, name));
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    await mkdir(join(folder, '.waybill')); // the nearest one upwards is taken: it must not be somebody else's
    const { stdout } = await run(process.execPath, [name], { cwd: folder, timeout: 200_000 });
    return stdout;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

describe('README and examples', () => {
  it('the README quotes code that stands in docs/examples, line for line', async () => {
    const quoted = blocks(await read('README.md'), 'ts');
    const sources = await Promise.all(['smallest.ts', 'transaction.ts'].map((name) => read(`docs/examples/${name}`)));
    assert.ok(quoted.length >= 3);
    for (const block of quoted) assert.ok(isQuoted(block, sources), `not in docs/examples:\n${block}`);
  });

  it('the tour quotes the shop, each block from the file named above it', async () => {
    const tour = await read('docs/tour.md');
    const quotes = [...tour.matchAll(/^`(examples\/shop\/\S+)`\n\n?```ts\n([\s\S]*?)^```/gm)];
    assert.equal(quotes.length, blocks(tour, 'ts').length, 'a file stands above each block');
    assert.ok(quotes.length >= 8);
    for (const [, file, block] of quotes) assert.ok(isQuoted(block!, [await read(file!)]), `not in ${file}:\n${block}`);
  });

  it('notices a quotation that has drifted from its source', async () => {
    const source = await read('docs/examples/smallest.ts');
    assert.ok(isQuoted(source, [source]));
    assert.ok(!isQuoted(source.replace('9.5', '9.6'), [source]));
  });

  it('links lead somewhere, and the decisions have a list that names each one', async () => {
    const missing: string[] = [];
    for await (const page of glob('{README,CONTRIBUTING,CHANGELOG}.md', { cwd: ROOT })) missing.push(...(await deadLinks(page)));
    for await (const page of glob('{docs,packages/*,lab,benchmarks,examples}/**/*.md', { cwd: ROOT, exclude: ['**/node_modules/**', '**/dist/**'] })) missing.push(...(await deadLinks(page)));
    assert.deepEqual(missing, []);
    const list = await read('docs/decisions/README.md');
    for await (const page of glob('docs/decisions/0*.md', { cwd: ROOT })) {
      assert.match(list, new RegExp(`^${Number(basename(page).slice(0, 4))}\\. \\[[^\\]]+\\]\\(${basename(page)}\\)$`, 'm'));
    }
  });

  it('notices a link that leads nowhere', async () => {
    assert.deepEqual(await deadLinks('docs/tour.md', '[x](nowhere.md) [y](../README.md#the-house) [z](https://example.com)'), ['docs/tour.md: nowhere.md']);
  });

  it('the pages of features quote the programs that they name', async () => {
    for (const name of ['event-store', 'sagas', 'freshness', 'later', 'replay']) {
      const page = await read(`docs/${name}.md`);
      assert.ok(blocks(page, 'ts').length >= 2, name);
      for (const block of blocks(page, 'ts')) assert.ok(isQuoted(block, [await read(`docs/examples/${name}.ts`)]), `not in docs/examples/${name}.ts:\n${block}`);
    }
  });

  it('the page of the command line quotes the module that it names, and what the command prints of it', async () => {
    const page = await read('docs/command-line.md');
    for (const block of blocks(page, 'ts')) assert.ok(isQuoted(block, [await read('docs/examples/bus.ts')]), `not in docs/examples/bus.ts:\n${block}`);
    const [quoted = ''] = blocks(page, 'console');
    const [command = '', ...lines] = quoted.split('\n');
    const args = command.replace('$ waybill ', '').split(' ');
    const { stdout } = await run(process.execPath, [join(ROOT, 'packages/cli/src/main.ts'), ...args], { cwd: ROOT, timeout: 60_000, env: { ...process.env, WAYBILL_TRANSPORT: '', WAYBILL_STORE: '', NODE_ENV: '' } });
    assert.equal(stdout, lines.join('\n'));
  });

  it('the program with an event store confirms an order once it is paid', async () => {
    assert.equal(await runExample('event-store.ts'), 'confirmed 7\nrevenue 30\n');
  });

  it('the program of what happens later keeps its times', async () => {
    assert.equal(await runExample('later.ts'), 'taken back: true\nwater the plants\n');
  });

  it('the program with a saga completes one order and takes the other back', async () => {
    const lines = (await runExample('sagas.ts')).trim().split('\n');
    assert.deepEqual(lines.toSorted(), ['o1 completed', 'o2 compensated', 'payment of o2 voided', 'stock of o2 released']);
  });

  it('the program with a late subscriber gets what was before it, and nothing twice', async () => {
    assert.equal(await runExample('replay.ts'), 'prices 9 8 7 6\nreport.prices catalog 4 4 0\nreplay 4 0 4\n');
  });

  it('the program with a read model of two services shows what was written', async () => {
    assert.equal(await runExample('freshness.ts'), '9.5 3\nstock current 0\n');
  });

  it('the smallest program prints the new price and ends', async () => {
    assert.equal(await runExample('smallest.ts'), 'new price 9.5\n');
  });

  it('the program with transactions applies each price once, also one from before the basket existed', async () => {
    assert.equal(await runExample('transaction.ts'), 'basket has p1 at 9.5\nbasket has p1 at 8\n');
  });
});

function isQuoted(block: string, sources: readonly string[]): boolean {
  return sources.some((source) => source.includes(block));
}
