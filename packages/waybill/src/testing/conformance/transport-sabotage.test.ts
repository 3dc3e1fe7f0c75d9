import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCase, skipReason } from './conformance.ts';
import { gaps, unnoticed } from './sabotage.ts';
import { broken } from './transport/broken.ts';
import { transportCases } from './transport/cases.ts';
import { overMemory } from './transport/over-memory.ts';
import { overSqlite } from './transport/over-sqlite.ts';
import { transportSabotages } from './transport/sabotage.ts';

/** The second for promises that the first does not make. */
const drivers = [overMemory(), overSqlite('native', 2_000)];

describe('transport conformance notices', () => {
  it('something of every case: each is broken by some sabotage', () => {
    assert.deepEqual(gaps(transportCases, transportSabotages), []);
  });

  it('nothing where nothing is broken: the wrapping alone changes no case', async () => {
    const wrapped = broken('does everything right', '', () => ({ delivery: (honest) => ({ ...honest }) })).wrap(drivers[0]!);
    for (const subject of transportCases) await runCase(subject, wrapped);
  });

  for (const sabotage of transportSabotages) {
    it(`a driver that ${sabotage.name}`, async () => {
      const subject = transportCases.find(({ name }) => name === sabotage.breaks)!;
      const driver = drivers.find((candidate) => skipReason(subject, candidate) === undefined);
      assert.ok(driver, `no driver here runs the case: ${sabotage.breaks}`);
      assert.equal(await unnoticed(sabotage, transportCases, driver), undefined);
    });
  }
});
