import { describe, it } from 'node:test';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { transportCases } from '../../src/testing/conformance/transport/cases.ts';
import { overNamespace, overStandIn } from './over-azure-service-bus.ts';

const connectionString = process.env['AZURE_SERVICEBUS_CONNECTION_STRING'] ?? '';

describe('transport conformance: azure-service-bus, over the stand-in', { concurrency: 8 }, () => {
  for (const subject of transportCases) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, overStandIn());
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});

describe('transport conformance: azure-service-bus, over a namespace', { skip: connectionString === '' && 'set AZURE_SERVICEBUS_CONNECTION_STRING to a namespace of yours (Premium: the suite sends 1 MiB)' }, () => {
  for (const subject of transportCases) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, overNamespace(connectionString));
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});
