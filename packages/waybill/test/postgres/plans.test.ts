/** The statements of the ledger touch what they return, however long the history is. `plans.ts` does it at five million. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PostgresServer } from '../support/postgres-server.ts';
import { measurePlans } from './plans.ts';
import { server as startServer, skip } from './support.ts';

describe('behind a long history', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  it('a poll and a page touch hardly more than they return', async () => {
    const found = await measurePlans(server, 100_000);
    const told = JSON.stringify(found, null, 1);
    assert.equal(found.length, 10, told);
    for (const { name, touched } of found) {
      // the one that may walk a batch: once for each, through its index entries
      if (name === 'where a backlog begins') continue;
      if (name.startsWith('control')) assert.ok(touched > 50_000, `a walk through the history was not seen: ${told}`);
      else assert.ok(touched <= 2_100, `${name}: ${told}`);
    }
  });
});
