/**
 * The simulated database and broker against the conformance cases that every real driver has to pass: a fake that is
 * kinder or stricter than its port would prove nothing.
 */
import { describe, it } from 'node:test';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { storeCases } from '../../src/testing/conformance/store/cases.ts';
import { transportCases } from '../../src/testing/conformance/transport/cases.ts';
import { simulatedStore, simulatedTransport } from './over-simulation.ts';

const serialHere = 'an event that commits late is not stepped over';

for (const options of [{ parallel: false, cheapSavepoints: true }, { parallel: true, cheapSavepoints: true }, { parallel: true, cheapSavepoints: false }]) {
  const driver = simulatedStore(options);
  describe(`store conformance: ${driver.name}`, () => {
    for (const subject of storeCases) {
      it(subject.name, async (t) => {
        if (options.parallel && subject.name === serialHere) return t.skip('appends to streams come one at a time here; no stream is simulated yet');
        const skipped = await runCase(subject, driver);
        if (skipped !== undefined) t.skip(skipped);
      });
    }
  });
}

describe('transport conformance: the simulated broker', () => {
  for (const subject of transportCases) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, simulatedTransport());
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});
