/**
 * The store conformance suite through a user's library. By default what touches transactions and the user's own SQL, so
 * that the tests of nine libraries stay short; with `WAYBILL_CONFORMANCE=all` everything.
 */
import { before, describe, it } from 'node:test';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { storeCases } from '../../src/testing/conformance/store/cases.ts';
import { sqlCases } from '../../src/testing/conformance/store/sql.ts';
import { transactionCases } from '../../src/testing/conformance/store/transactions.ts';
import { overPostgres } from '../postgres/over-postgres.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import type { Library } from './library.ts';
import { sharedServer, skip } from './server.ts';

const cases = process.env['WAYBILL_CONFORMANCE'] === 'all' ? storeCases : [...transactionCases, ...sqlCases];

export function storeConformance(library: Library): void {
  describe(`store conformance over ${library.name}`, { skip }, () => {
    let server: PostgresServer;
    before(async () => {
      server = await sharedServer();
    });

    const driver = overPostgres(() => server, library);
    for (const subject of cases) {
      it(subject.name, async (t) => {
        const skipped = await runCase(subject, driver);
        if (skipped !== undefined) t.skip(skipped);
      });
    }
  });
}
