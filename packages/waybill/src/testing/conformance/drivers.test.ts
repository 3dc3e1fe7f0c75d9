/** No driver without its suite: the folder of each has a world here, and a test that runs it. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';

const here = import.meta.dirname;

for (const [folder, suite] of [['transports', 'transport'], ['stores', 'store']] as const) {
  it(`every folder of ${folder} runs the ${suite} suite`, () => {
    assert.deepEqual(missing(readdirSync(join(here, '../..', folder)), suite), []);
  });

  it(`a folder of ${folder} without the suite would be reported`, () => {
    assert.deepEqual(missing(['memory', 'carrier-pigeon'], suite), ['carrier-pigeon']);
  });
}

function missing(drivers: readonly string[], suite: string): string[] {
  const test = readFileSync(join(here, `${suite}.test.ts`), 'utf8');
  return drivers.filter((name) => !test.includes(`./${suite}/over-${name}.ts`) && !runsElsewhere(name));
}

/** A driver that needs a server has its world, and the test that runs the suite over it, beside its other tests. */
function runsElsewhere(name: string): boolean {
  const test = join(here, '../../../test', name, 'conformance.test.ts');
  return existsSync(test) && readFileSync(test, 'utf8').includes(`./over-${name}.ts`);
}
