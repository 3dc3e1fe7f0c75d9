import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ROOT, run, type Outcome } from './support/run.ts';

/** The faults that the lint is there for, each with the rule that must name it. */
const PLANTED = [
  {
    fault: 'a promise that nobody awaits',
    rule: 'typescript(no-floating-promises)',
    source: `export function save(): void {\n  Promise.resolve(1);\n}\n`,
  },
  {
    fault: 'an assertion in a test that nobody awaits',
    rule: 'typescript(no-floating-promises)',
    source: `import assert from 'node:assert/strict';\nimport { test } from 'node:test';\ntest('a thing', () => {\n  assert.rejects(Promise.resolve(1));\n});\n`,
  },
  {
    fault: 'a promise taken for a boolean',
    rule: 'typescript(no-misused-promises)',
    source: `export const isThere = async (): Promise<boolean> => false;\nexport const word: string = isThere() ? 'yes' : 'no';\n`,
  },
  {
    fault: 'an async function given to one who does not wait',
    rule: 'typescript(no-misused-promises)',
    source: `export const all: void = [1, 2].forEach(async (n) => {\n  await Promise.resolve(n);\n});\n`,
  },
  {
    fault: 'a switch that forgets a case',
    rule: 'typescript(switch-exhaustiveness-check)',
    source: `export function word(state: 'on' | 'off'): string {\n  switch (state) {\n    case 'on':\n      return 'yes';\n  }\n  return '';\n}\n`,
  },
] as const;

const CLEAN = `import assert from 'node:assert/strict';
import { test } from 'node:test';

test('a thing', async () => {
  await assert.rejects(Promise.reject(new Error('expected')));
});
`;

describe('the type-aware lint', () => {
  for (const { fault, rule, source } of PLANTED) {
    it(`reports ${fault}`, async () => {
      const { code, output } = await lint(source);
      assert.notEqual(code, 0, output);
      assert.ok(output.includes(rule), output);
    });
  }

  it('lets awaited code and unawaited test() calls pass', async () => {
    const { code, output } = await lint(CLEAN);
    assert.equal(code, 0, output);
  });
});

/** Runs the project's own configuration over one file that stands outside the project. */
async function lint(source: string): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-lint-'));
  try {
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ extends: join(ROOT, 'tsconfig.base.json'), include: ['*.ts'] }));
    await writeFile(join(folder, 'planted.ts'), source);
    const oxlint = join(ROOT, 'node_modules/oxlint/bin/oxlint');
    const config = join(ROOT, '.oxlintrc.json');
    return await run(process.execPath, [oxlint, '--type-aware', '--deny-warnings', '--config', config, 'planted.ts'], { cwd: folder });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
