import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { PostgresServer } from '../../support/postgres-server.ts';
import { server as startServer, skip } from '../support.ts';
import { compare, torture } from './torture.ts';

describe('a few seconds of torture over PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  let folder: string;
  before(async () => {
    server = await startServer();
    folder = await mkdtemp(join(tmpdir(), 'waybill-torture-'));
  });
  after(async () => {
    await server?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('lose nothing, double nothing, invent nothing, and keep the order of each key', async () => {
    const { violations, published, errors } = await torture({ server, folder, seconds: 5 });
    assert.deepEqual(violations, []);
    assert.ok(published > 0, `nothing was published: ${JSON.stringify([...errors])}`);
  });

  it('would be seen to lose, double, invent and reorder', async () => {
    const spoil = async (text: string, seen: RegExp): Promise<void> => {
      await server.query('begin; create table kept as table effect; commit', undefined, 'shop');
      await server.query(text, undefined, 'shop');
      const { violations } = await compare(server);
      assert.match(violations.join('\n'), seen);
      await server.query('begin; truncate effect; insert into effect overriding system value table kept; drop table kept; commit', undefined, 'shop');
    };
    const any = `(select max(at) from effect where subscription = 'ordered')`;
    await spoil(`delete from effect where at = ${any}`, /1 lost \(ordered\)/);
    await spoil(`insert into effect (subscription, id, account, version) select subscription, id, account, version from effect where at = ${any}`, /1 doubled \(ordered\)/);
    await spoil(`insert into effect (subscription, id, account, version) values ('own', 'nobody', 'a0', 1)`, /1 invented \(own\)/);
    await spoil(`update effect set version = version + 1 where at = ${any}`, /reordered \(ordered\)/);
    assert.deepEqual((await compare(server)).violations, []);
  });
});
