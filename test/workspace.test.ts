import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ROOT } from './support/run.ts';

interface Manifest {
  readonly name?: string;
  readonly private?: boolean;
  readonly dependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
}

const EXACT = /^(npm:(@[\w.-]+\/)?[\w.-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/;

describe('the workspace', () => {
  it('pins every dependency exactly', async () => {
    for (const [file, manifest] of await manifests()) assert.deepEqual(loose(manifest), [], file);
  });

  it('would see a dependency that is not pinned', () => {
    for (const version of ['^1.0.0', '~1.0.0', '1.x', '*', 'latest', '>=1', 'npm:typescript@^5', '']) {
      assert.deepEqual(loose({ devDependencies: { fine: '1.2.3', alias: 'npm:typescript@5.9.3', it: version } }), ['it'], version);
    }
  });

  it('brings its own Node only in the private root', async () => {
    const carriers = (await manifests()).filter(([, manifest]) => Object.keys(manifest.optionalDependencies ?? {}).some((name) => name.startsWith('node-')));
    assert.deepEqual(carriers.map(([file]) => file), ['package.json']);
    assert.equal(carriers[0]?.[1].private, true);
  });

  it('runs its tests on the Node that it brings', (t) => {
    if (process.platform !== 'linux' || process.arch !== 'x64') return t.skip('the Node brought along is for Linux x64');
    assert.match(process.version, /^v24\./);
  });

  it('locks packages without naming the registry that they came from', async () => {
    const { packages } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Record<string, { resolved?: string }> };
    const named = Object.entries(packages).filter(([, { resolved }]) => resolved?.includes('://'));
    assert.ok(Object.keys(packages).length > 10);
    assert.deepEqual(named.map(([name]) => name), []);
  });
});

async function manifests(): Promise<[string, Manifest][]> {
  const found: [string, Manifest][] = [];
  for await (const file of glob(['package.json', '{packages,examples}/*/package.json', '{benchmarks,lab}/package.json'], { cwd: ROOT })) {
    found.push([file, JSON.parse(await readFile(join(ROOT, file), 'utf8')) as Manifest]);
  }
  assert.ok(found.length >= 3);
  return found;
}

/** Names of the dependencies whose version is a range. */
function loose({ dependencies, devDependencies, optionalDependencies }: Manifest): string[] {
  return Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies })
    .filter(([, version]) => !EXACT.test(version))
    .map(([name]) => name);
}
