/** The suite, on this transport made to break each of its promises: it must notice. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { skipReason } from '../../src/testing/conformance/conformance.ts';
import { unnoticed } from '../../src/testing/conformance/sabotage.ts';
import { transportCases } from '../../src/testing/conformance/transport/cases.ts';
import { transportSabotages } from '../../src/testing/conformance/transport/sabotage.ts';
import { overStandIn } from './over-azure-service-bus.ts';

/** Most sabotages show by what never comes. */
const driver = overStandIn(1_500, 1_500);

/** Sabotages that do no harm here, because of how the honest driver works. */
const harmless: Readonly<Record<string, string>> = {
  'hands out what another holds': 'what is released stays with its consumer, so that nobody else gets it',
  'gives one more than was asked for': 'messages come one by one: there may be no more to give',
  'brings what was unsettled last': 'messages come one by one: there is nothing to sort',
  'binds types of any kind': 'the event and the command come over two links, in any order',
};

describe('transport conformance over azure-service-bus notices', { concurrency: 8 }, () => {
  for (const sabotage of transportSabotages) {
    const subject = transportCases.find(({ name }) => name === sabotage.breaks)!;
    const skip = harmless[sabotage.name] ?? skipReason(subject, driver) ?? false;
    it(`a driver that ${sabotage.name}`, { skip }, async () => {
      assert.equal(await unnoticed(sabotage, transportCases, driver), undefined);
    });
  }
});
