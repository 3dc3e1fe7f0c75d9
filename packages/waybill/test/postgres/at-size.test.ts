/** What happens later costs what it returns, however much waits. `at-size.ts` does it at a million. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PostgresServer } from '../support/postgres-server.ts';
import { measureAtSize, measureUntold } from './at-size.ts';
import { server as startServer, skip } from './support.ts';

describe('where a great deal waits', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  it('a look, a step and a page touch hardly more than they return', async () => {
    const found = await measureAtSize(server, 20_000);
    const told = JSON.stringify(found, null, 1);
    assert.equal(found.length, 28, told);
    for (const { name, touched } of found) {
      if (name.startsWith('control')) assert.ok(touched > 5_000, `a walk through all that waits was not seen: ${told}`);
      else assert.ok(touched <= 500, `${name}: ${told}`);
    }
  });

  it('does so too before the server has been told how much there is', async () => {
    const found = await measureUntold(server, 50_000);
    const told = JSON.stringify(found, null, 1);
    assert.equal(found.length, 15, told);
    for (const { name, touched } of found) assert.ok(touched <= 5_000, `${name}: ${told}`);
  });
});
