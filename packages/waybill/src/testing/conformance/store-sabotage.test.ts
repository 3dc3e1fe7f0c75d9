import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCase, skipReason } from './conformance.ts';
import { gaps, unnoticed } from './sabotage.ts';
import { broken } from './store/broken.ts';
import { storeCases } from './store/cases.ts';
import { overMemory } from './store/over-memory.ts';
import { overSqlite } from './store/over-sqlite.ts';
import { storeSabotages } from './store/sabotage.ts';

/** The second for promises that the first does not make. */
const drivers = [overMemory(), overSqlite('file')];

describe('store conformance notices', () => {
  it('something of every case: each is broken by some sabotage', () => {
    assert.deepEqual(gaps(storeCases, storeSabotages), []);
  });

  it('nothing where nothing is broken: the wrapping alone changes no case', async () => {
    const wrapped = broken('does everything right', '', () => ({ tx: () => ({}) })).wrap(drivers[0]!);
    for (const subject of storeCases) await runCase(subject, wrapped);
  });

  for (const sabotage of storeSabotages) {
    it(`a driver that ${sabotage.name}`, async () => {
      const subject = storeCases.find(({ name }) => name === sabotage.breaks)!;
      const driver = drivers.find((candidate) => skipReason(subject, candidate) === undefined);
      assert.ok(driver, `no driver here runs the case: ${sabotage.breaks}`);
      assert.equal(await unnoticed(sabotage, storeCases, driver), undefined);
    });
  }
});
