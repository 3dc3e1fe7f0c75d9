import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { needs } from '../../../../test/support/needs.ts';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { storeCases } from '../../src/testing/conformance/store/cases.ts';
import { startPostgres, type PostgresServer } from '../support/postgres-server.ts';
import { overPostgres } from './over-postgres.ts';

const program = needs('postgres');

describe('store conformance: postgres', { skip: program.skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres({ bin: dirname(program.path!) });
  });
  after(() => server?.close());

  const driver = overPostgres(() => server);
  for (const subject of storeCases) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, driver);
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});
