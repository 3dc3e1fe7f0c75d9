import assert from 'node:assert/strict';
import { glob, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ROOT, run, type Outcome } from './support/run.ts';

const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');
const EVERYTHING = 'tsconfig.base.json';
const LIBRARY = 'packages/waybill/tsconfig.json';

/** The faults that the type check is there for, beside plain ones, each with the error that must name it. */
const PLANTED = [
  { fault: 'wrong data', config: EVERYTHING, error: 'TS2322', source: `export const n: number = 'one';\n` },
  { fault: 'an expected error that does not come', config: EVERYTHING, error: 'TS2578', source: `// @ts-expect-error nothing is wrong here\nexport const n = 1;\n` },
  { fault: 'syntax that Node cannot strip', config: EVERYTHING, error: 'TS1294', source: `export enum Colour {\n  Red,\n}\n` },
  { fault: 'a type imported as if it were a value', config: EVERYTHING, error: 'TS1484', source: `import { Readable, ReadableOptions } from 'node:stream';\nexport const make = (o: ReadableOptions): Readable => new Readable(o);\n` },
  { fault: 'an element taken for certain', config: EVERYTHING, error: 'TS2532', source: `export const first = (all: string[]): string => all[0].trim();\n` },
  { fault: 'undefined for an optional field', config: EVERYTHING, error: 'TS2375', source: `export const o: { a?: number } = { a: undefined };\n` },
  { fault: 'an export of the library without a type of its own', config: LIBRARY, error: 'TS9013', source: `export function twice(n: number) {\n  return n * 2;\n}\n` },
] as const;

describe('the type check', () => {
  for (const { fault, config, error, source } of PLANTED) {
    it(`reports ${fault}`, async () => {
      const { code, output } = await check(config, source);
      assert.notEqual(code, 0, output);
      assert.ok(output.includes(`planted.ts`) && output.includes(error), output);
    });
  }

  it('lets right code pass', async () => {
    for (const config of [EVERYTHING, LIBRARY]) {
      const { code, output } = await check(config, `export function twice(n: number): number {\n  return n * 2;\n}\n`);
      assert.equal(code, 0, output);
    }
  });

  it('sees every TypeScript file of the repository', async () => {
    const compiled = await run(process.execPath, [TSC, '--project', ROOT, '--listFilesOnly']);
    const seen = new Set(compiled.output.split('\n'));
    const missing: string[] = [];
    for await (const file of glob('**/*.{ts,mts,cts,tsx}', { cwd: ROOT, exclude: ['**/node_modules/**', '**/dist/**'] })) {
      if (!seen.has(join(ROOT, file))) missing.push(file);
    }
    assert.deepEqual(missing, []);
    assert.ok(seen.has(join(ROOT, 'test/typecheck.test.ts')));
  });
});

/** Runs the project's own options over one file that stands outside the project. */
async function check(config: string, source: string): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-typecheck-'));
  try {
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ extends: join(ROOT, config), include: ['planted.ts'], exclude: [] }));
    await writeFile(join(folder, 'planted.ts'), source);
    return await run(process.execPath, [TSC, '--project', folder]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
