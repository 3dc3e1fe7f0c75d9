/** A sample of the planted bugs, each of which a few seeds notice; `npm run mutants` plants them all. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { hunt } from './hunting.ts';
import { kept } from './kept.ts';
import { mutants } from './list.ts';

const sample = [
  'dual write: the ledger row in a transaction of its own',
  'published before the broker confirmed',
  'acknowledged before the transaction',
  'no inbox',
  'a delayed message leaves early',
  'a failed run is forgotten',
  'a dead letter without its bytes',
];

describe('the planted bugs', () => {
  it('are thirty at least, under names of their own', () => {
    assert.ok(mutants.length >= 30, String(mutants.length));
    assert.equal(new Set(mutants.map(({ name }) => name)).size, mutants.length);
  });

  for (const { name, file, find, put, also } of mutants) {
    it(`can be planted: ${name}`, () => {
      for (const change of [{ file, find, put }, ...(also ? [also] : [])]) {
        const source = readFileSync(join(import.meta.dirname, '../../packages/waybill/src', change.file), 'utf8');
        assert.equal(source.split(change.find).length, 2, `its text must stand once in ${change.file}`);
        assert.notEqual(change.find, change.put);
      }
    });
  }

  for (const name of sample) {
    it(`is noticed by an invariant: ${name}`, async () => {
      const mutant = mutants.find((one) => one.name === name);
      assert.ok(mutant);
      const caught = await hunt(mutant, { from: 1, seeds: 100, timeoutMs: 60_000 });
      assert.ok(caught.invariants && caught.invariants.length > 0, 'no seed noticed');
    });
  }

  for (const [file, { mutant: name, violates }] of kept) {
    it(`that was found once comes to its violation by what is kept: ${file}`, async (t) => {
      const mutant = mutants.find((one) => one.name === name);
      assert.ok(mutant, `no mutant is named ${name}`);
      const caught = await hunt(mutant, { from: 1, seeds: 0, timeoutMs: 60_000 });
      t.diagnostic(String(caught.by));
      assert.ok(
        violates.some((invariant) => caught.invariants?.includes(invariant)),
        `${JSON.stringify(caught)}: calls have changed their order, and no run near it fails any more; find one that does with lab/mutants/keep.ts`,
      );
    });
  }

  it('do not run at all when their text is gone', async () => {
    await assert.rejects(hunt({ name: 'nobody knows this one', file: 'bus.ts', find: 'x', put: 'y' }, { from: 1, seeds: 1, timeoutMs: 60_000 }), /no mutant is named/);
  });
});
