/** The store's cases of the ledger, with the rows read out of the write-ahead log. */
import { after, before, describe, it } from 'node:test';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { outboxCases } from '../../src/testing/conformance/store/outbox.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { overPostgres } from './over-postgres.ts';
import { server as startServer, skip } from './support.ts';

describe('store conformance: postgres, relay mode log', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer({ settings: { wal_level: 'logical', max_connections: 100 } });
  });
  after(() => server?.close());

  const driver = overPostgres(() => server, undefined, 'log');
  // what is read and settled; who may hold the lease is decided by the same rows in every mode
  const others = /one instance at a time|given back|time is up|renewed in time|a key's lock|trim (keeps|removes no more)/;
  for (const subject of outboxCases.filter(({ name }) => !others.test(name))) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, driver);
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});
