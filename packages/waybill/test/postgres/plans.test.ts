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

  for (const how of ['each time', 'once'] as const) {
    it(`a poll and a page, planned ${how}, touch hardly more than they return`, async () => {
      const found = await measurePlans(server, 100_000, how);
      const told = JSON.stringify(found, null, 1);
      assert.equal(found.length, 11, told);
      for (const { name, touched } of found) {
        // the one that may walk a batch: once for each, through its index entries
        if (name === 'where a backlog begins') continue;
        if (name.startsWith('control')) assert.ok(touched > 50_000, `a walk through the history was not seen: ${told}`);
        else assert.ok(touched <= 2_100, `${name}: ${told}`);
      }
    });
  }

  it('a poll that was planned once without what guards it walks through the history', async () => {
    const found = await measurePlans(server, 60_000, 'once', 'set plan_cache_mode = force_generic_plan');
    assert.ok(found.find(({ name }) => name === 'poll, nothing new')!.touched >= 60_000, JSON.stringify(found));
  });
});
