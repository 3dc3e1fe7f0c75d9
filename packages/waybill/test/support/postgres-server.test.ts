import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { it } from 'node:test';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres } from './postgres-server.ts';

const postgres = needs('postgres');

it('a private server is killed with all its children, starts again, and keeps what was committed', { skip: postgres.skip }, async () => {
  const server = await startPostgres({ bin: dirname(postgres.path!) });
  try {
    const database = await server.createDatabase();
    await server.query('create table kept (n int); insert into kept values (1)', undefined, database);
    const before = server.children();
    assert.ok(before.length > 0);
    await server.kill();
    await assert.rejects(server.query('select 1'));
    await server.start();
    assert.deepEqual((await server.query('select n from kept', undefined, database)).rows, [{ n: 1 }]);
    assert.ok(server.children().every((pid) => !before.includes(pid)));
  } finally {
    await server.close();
  }
});
