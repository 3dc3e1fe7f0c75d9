import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { openStore, skipUnless, testHost, wire } from '../../../test/sqlite/support.ts';
import { sqlite } from './index.ts';

const reason = 'needs the right to mount a small tmpfs (root on Linux)';
const canMount = process.platform === 'linux' && process.getuid?.() === 0 && trial();

/** In a mount namespace of its own, which is gone with the process. */
function trial(): boolean {
  return spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', tmpdir()]).status === 0;
}

function smallDisk(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'waybill-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', path]);
  t.after(() => {
    execFileSync('umount', ['--lazy', path]); // the store is closed after this
    rmdirSync(path);
  });
  return path;
}

describe('a full disk', { skip: skipUnless(canMount, reason) }, () => {
  it('refuses whole transactions, loses nothing acknowledged, reads on, and works again once there is room', async (t) => {
    const disk = smallDisk(t);
    const store = await openStore(t, join(disk, 'catalog.db'));
    await store.transaction((tx) => tx.native.query('create table item (n integer)'));
    writeFileSync(join(disk, 'ballast'), Buffer.alloc(2 * 1024 * 1024));
    const body = new Uint8Array(2_000);
    let acknowledged = 0;
    const one = (n: number): Promise<void> =>
      store.transaction(async (tx) => {
        await tx.native.query('insert into item values ($1)', [n]);
        for (let i = 0; i < 10; i++) await store.ports.outbox.append(tx, [wire({ body })]);
      });
    let refused: unknown;
    for (let failures = 0; failures < 20; ) {
      try {
        await one(acknowledged + 1);
        acknowledged++;
      } catch (error) {
        refused = error;
        failures++;
      }
    }
    assert.equal((refused as { code?: string }).code, 'STORE_FULL');
    assert.equal(store.classify(refused), 'down');
    const counts = (): Promise<object | undefined> =>
      store.database.read(
        (statements) => statements.all('select (select count(*) from item) as items, (select count(*) from waybill_ledger) as messages')[0],
      );
    assert.deepEqual({ ...(await counts()) }, { items: acknowledged, messages: acknowledged * 10 });
    assert.equal((await sqlite(join(disk, 'new.db')).open(testHost()).catch((error: { code: string }) => error.code)), 'STORE_FULL'); // prettier-ignore

    rmSync(join(disk, 'ballast'));
    await one(++acknowledged);
    assert.deepEqual({ ...(await counts()) }, { items: acknowledged, messages: acknowledged * 10 });
    const check = await store.database.read((statements) => statements.get('pragma integrity_check'));
    assert.deepEqual({ ...check }, { integrity_check: 'ok' });
  });

  it('fails the commit although the handler swallowed the error, and commits nothing by itself', async (t) => {
    const disk = smallDisk(t);
    const store = await openStore(t, join(disk, 'catalog.db'));
    await store.transaction((tx) => tx.native.query('create table item (n integer, filler blob); create table after (n integer)'));
    const swallowed = store.transaction(async (tx) => {
      // Past the page cache SQLite writes to the log before the commit: there the disk ends in the midst.
      const filling = tx.savepoint(async (native) => {
        for (let n = 0; n < 100; n++) await native.query('insert into item values ($1, randomblob(200000))', [n]);
      });
      await assert.rejects(filling, { code: 'STORE_FULL' });
      await assert.rejects(tx.native.query('insert into after values (1)'), { code: 'STORE_FULL' });
    });
    await assert.rejects(swallowed, { code: 'STORE_FULL' });
    const left = await store.database.read((statements) =>
      statements.get('select (select count(*) from item) + (select count(*) from after) as n'),
    );
    assert.deepEqual({ ...left }, { n: 0 });
  });
});
