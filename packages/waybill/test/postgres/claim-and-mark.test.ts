/** The cases of the outbox over another design than the ledger: see `claim-and-mark.ts`. */
import { after, before, describe, it } from 'node:test';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { inspectCases } from '../../src/testing/conformance/store/inspect.ts';
import { outboxCases } from '../../src/testing/conformance/store/outbox.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { overClaimAndMark } from './claim-and-mark.ts';
import { server as startServer, skip } from './support.ts';

describe('store conformance: postgres, claim and mark', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  const driver = overClaimAndMark(() => server);
  for (const subject of [...outboxCases, ...inspectCases.filter(({ name }) => /what was sent/.test(name))]) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, driver);
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});
