import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { child, folder, openStore, skipUnless, testHost, wire } from '../../../test/sqlite/support.ts';
import { sqlite } from './index.ts';
import { isSqliteSession } from './port.ts';
import { formatNow, migrations } from './schema.ts';

const refusal = async (file: string, host = testHost()): Promise<Error & { code: string }> => {
  const store = await sqlite(file).open(host).catch((error: Error & { code: string }) => error); // prettier-ignore
  if (store instanceof Error) return store;
  await store.close();
  return assert.fail('it was opened');
};
const asRoot = process.getuid?.() === 0;
/** Somebody without rights: `nobody` when the tests run as root, to whom every file is open. */
const nobody = asRoot ? { uid: 65_534, gid: 65_534 } : {};

describe('sqlite(file)', () => {
  it('refuses what is no path', () => {
    for (const file of ['', ' ', 'a\0b', undefined, 7]) {
      assert.throws(() => sqlite(file as string), { code: 'INVALID_OPTION' });
    }
  });

  it('makes the file with its folders, in WAL mode and fully synchronous', async (t) => {
    const file = join(folder(t), 'deep', 'down', 'catalog.db');
    const store = await openStore(t, file);
    assert.ok(isSqliteSession(store));
    assert.equal(store.database.file, file);
    assert.equal(store.database.service, 'catalog');
    await store.transaction(async (tx) => {
      assert.deepEqual((await tx.native.query('pragma journal_mode')).rows, [{ journal_mode: 'wal' }]);
      assert.deepEqual((await tx.native.query('pragma synchronous')).rows, [{ synchronous: 2 }]);
      assert.deepEqual((await tx.native.query('pragma foreign_keys')).rows, [{ foreign_keys: 1 }]);
      assert.deepEqual((await tx.native.query('pragma user_version')).rows, [{ user_version: 0 }]);
      assert.deepEqual((await tx.native.query('pragma application_id')).rows, [{ application_id: 0 }]);
    });
  });

  it('leaves it to the umask who may share the file, and all files beside it', { skip: skipUnless(process.platform !== 'win32', 'needs a umask') }, async (t) => {
    const path = folder(t);
    const umask = process.umask(0o007);
    t.after(() => process.umask(umask));
    const store = await openStore(t, join(path, 'catalog.db'));
    await store.transaction((tx) => store.ports.outbox.append(tx, [wire()]));
    const modes = readdirSync(path).map((name) => [name, (statSync(join(path, name)).mode & 0o777).toString(8)]);
    assert.deepEqual(Object.fromEntries(modes), { 'catalog.db': '660', 'catalog.db-shm': '660', 'catalog.db-turn': '660', 'catalog.db-wal': '660' });
  });

  it('takes up a file of an earlier format: its rows as they were, and no position twice', async (t) => {
    for (const isTrimmed of [false, true]) {
      const file = join(folder(t), 'catalog.db');
      const old = new DatabaseSync(file);
      for (const migration of migrations.slice(0, 4)) old.exec(migration);
      old.exec("insert into waybill_identity (one, service, incarnation, format) values (1, 'catalog', 'made before', 4)");
      const add = old.prepare("insert into waybill_ledger (kind, id, source, type, key, time, headers, body, appended) values ('event', ?, 'catalog', 't.v1', 'k', 7, ?, x'7b7d', 8)");
      for (const id of ['a', 'b']) add.run(id, JSON.stringify({ 'ce-id': id, own: 'header' }));
      if (isTrimmed) old.exec('delete from waybill_ledger');
      old.close();
      const store = await openStore(t, file);
      assert.equal(store.database.incarnation, 'made before');
      await store.transaction((tx) => store.ports.outbox.append(tx, [wire({ id: 'c' })]));
      const rows = await (await store.ports.outbox.acquire('me', 3_000))!.read(10);
      assert.deepEqual(rows.map(({ position, id }) => [position, id]), isTrimmed ? [[3, 'c']] : [[1, 'a'], [2, 'b'], [3, 'c']]); // prettier-ignore
      if (isTrimmed) continue;
      const { headers, key, time, body } = rows[0]!;
      assert.deepEqual({ headers, key, time, body: String.fromCharCode(...body) }, { headers: { 'ce-id': 'a', own: 'header' }, key: 'k', time: 7, body: '{}' });
    }
  });

  it('finds its rows and its incarnation again', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const store = await openStore(t, file);
    await store.transaction((tx) => store.ports.outbox.append(tx, [wire({ id: 'kept' })]));
    await store.close();
    const again = await openStore(t, file);
    assert.equal(again.database.incarnation, store.database.incarnation);
    assert.deepEqual((await again.ports.inspect.outbox({})).map((entry) => entry.id), ['kept']);
    await again.close();
    rmSync(file);
    assert.notEqual((await openStore(t, file)).database.incarnation, store.database.incarnation);
  });

  it('adds its tables to a database of the user, and touches nothing else', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const user = new DatabaseSync(file);
    user.exec('create table product (id text); insert into product values (1); pragma user_version = 42; pragma application_id = 7');
    user.close();
    const store = await openStore(t, file);
    await store.transaction(async (tx) => {
      assert.equal((await tx.native.query('select id from product')).rowCount, 1);
      assert.deepEqual((await tx.native.query('pragma user_version')).rows, [{ user_version: 42 }]);
      assert.deepEqual((await tx.native.query('pragma application_id')).rows, [{ application_id: 7 }]);
    });
  });

  it('is opened by many at once, the first time too', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const others = [1, 2, 3].map(() => child(t, 'open.ts', { file, service: 'catalog' }));
    const mine = await Promise.all([openStore(t, file), openStore(t, file)]);
    for (const other of others) assert.equal(await other.next(), 'ok');
    assert.equal(mine[0].database.incarnation, mine[1].database.incarnation);
  });
});

describe('opening is refused', () => {
  it('when the file belongs to another service, which it names; and the file stays as it was', async (t) => {
    const file = join(folder(t), 'catalog.db');
    await (await sqlite(file).open(testHost('catalog'))).close();
    const before = readFileSync(file);
    const error = await refusal(file, testHost('basket'));
    assert.equal(error.code, 'STORE_FOREIGN');
    assert.match(error.message, /"catalog".*"basket"/);
    assert.deepEqual(readFileSync(file), before);
  });

  it('when a copy of another service’s file is given', async (t) => {
    const path = folder(t);
    await (await sqlite(join(path, 'catalog.db')).open(testHost('catalog'))).close();
    copyFileSync(join(path, 'catalog.db'), join(path, 'basket.db'));
    assert.equal((await refusal(join(path, 'basket.db'), testHost('basket'))).code, 'STORE_FOREIGN');
    await openStore(t, join(path, 'basket.db'), testHost('catalog')); // under another name it is still the catalog’s
  });

  it('when a newer Waybill wrote it', async (t) => {
    const file = join(folder(t), 'catalog.db');
    await (await sqlite(file).open(testHost())).close();
    const newer = new DatabaseSync(file);
    newer.exec(`update waybill_identity set format = ${formatNow + 1}`);
    newer.close();
    const error = await refusal(file);
    assert.equal(error.code, 'STORE_NEWER');
    assert.match(error.message, /update the package/);
  });

  it('under migrate "check" when tables are missing, and then nothing is made', async (t) => {
    const path = folder(t);
    const host = testHost('catalog', 'check');
    assert.equal((await refusal(join(path, 'none', 'catalog.db'), host)).code, 'STORE_NOT_MIGRATED');
    assert.equal(existsSync(join(path, 'none')), false);
    const file = join(path, 'users.db');
    new DatabaseSync(file).exec('create table product (id text)');
    assert.equal((await refusal(file, host)).code, 'STORE_NOT_MIGRATED');
    const user = new DatabaseSync(file);
    assert.equal(user.prepare("select count(*) as n from sqlite_schema where name like 'waybill%'").get()!['n'], 0);
    user.close();
    await (await sqlite(file).open(testHost())).close();
    await openStore(t, file, host); // migrated now
  });

  it('when it is not a database', async (t) => {
    const path = folder(t);
    for (const size of [1, 511, 512, 600, 5_000]) {
      const [name, content] = [`a${size}.db`, 'x'.repeat(size)];
      writeFileSync(join(path, name), content);
      const error = await refusal(join(path, name));
      assert.equal(error.code, 'STORE_CORRUPT');
      assert.match(error.message, new RegExp(name));
      assert.equal(readFileSync(join(path, name), 'utf8'), content);
    }
  });

  it('when it is a folder, or its folder is a file', async (t) => {
    const path = folder(t);
    mkdirSync(join(path, 'catalog.db'));
    const error = await refusal(join(path, 'catalog.db'));
    assert.equal(error.code, 'STORE_UNREACHABLE');
    assert.match(error.message, /is a folder/);
    writeFileSync(join(path, 'file'), '');
    assert.equal((await refusal(join(path, 'file', 'catalog.db'))).code, 'STORE_UNREACHABLE');
  });

  it('when the process may not write the file, or make it', { skip: skipUnless(process.platform !== 'win32', 'needs users') }, async (t) => {
    const path = folder(t);
    chmodSync(path, 0o755);
    const file = join(path, 'catalog.db');
    await (await sqlite(file).open(testHost())).close();
    chmodSync(file, 0o444);
    const readOnly = child(t, 'open.ts', { file, service: 'catalog' }, nobody);
    assert.match(await readOnly.next(), /^STORE_READONLY: .*catalog\.db.*right to write/);

    chmodSync(file, 0o666);
    chmodSync(path, 0o555);
    const closed = child(t, 'open.ts', { file: join(path, 'other', 'catalog.db'), service: 'catalog' }, nobody);
    assert.match(await closed.next(), /^STORE_READONLY: .*other/);
    // The file may be written, its side files not: SQLite finds that out.
    const sideFiles = child(t, 'open.ts', { file, service: 'catalog' }, nobody);
    assert.match(await sideFiles.next(), /^STORE_(READONLY|UNREACHABLE): .*catalog\.db/);

    chmodSync(path, 0o777);
    const allowed = child(t, 'open.ts', { file, service: 'catalog' }, nobody);
    assert.equal(await allowed.next(), 'ok'); // control: the rights were what it lacked
  });
});

describe('an open file', () => {
  it('with damaged pages is STORE_CORRUPT, and the store is down', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const store = await openStore(t, file);
    await store.transaction(async (tx) => {
      for (let i = 0; i < 2_000; i++) await store.ports.outbox.append(tx, [wire()]);
    });
    await store.close();
    const damaged = openSync(file, 'r+');
    const pages = readFileSync(file).length / 4_096;
    for (let page = 30; page < pages; page++) writeSync(damaged, Buffer.alloc(2_000, 0xff), 0, 2_000, page * 4_096);
    const again = await openStore(t, file);
    const error = await again.ports.inspect.outbox({ id: 'none' }).then(() => assert.fail(), (thrown: unknown) => thrown); // prettier-ignore
    assert.equal((error as { code: string }).code, 'STORE_CORRUPT');
    assert.equal(again.classify(error), 'down');
  });

  for (const how of ['deleted', 'replaced'] as const) {
    it(`that was ${how} is noticed, instead of writing into nowhere for ever`, async (t) => {
      const file = join(folder(t), 'catalog.db');
      const store = await openStore(t, file);
      const appendOne = (): Promise<void> => store.transaction((tx) => store.ports.outbox.append(tx, [wire()]));
      await appendOne();
      if (how === 'deleted') rmSync(file);
      else {
        copyFileSync(file, `${file}.copy`);
        renameSync(`${file}.copy`, file);
      }
      const writeOn = async (): Promise<never> => {
        for (;;) await appendOne(); // it is looked at once a second, after a commit
      };
      const error = await writeOn().catch((thrown: Error & { code: string }) => thrown);
      assert.equal(error.code, 'STORE_UNREACHABLE');
      assert.equal(store.classify(error), 'down');
    });
  }

  it('whose log a reader keeps from being cut is reported', async (t) => {
    const host = testHost();
    const file = join(folder(t), 'catalog.db');
    const store = await openStore(t, file, host);
    await store.transaction((tx) => tx.native.query('create table big (filler blob)'));
    const reader = new DatabaseSync(file, { readOnly: true });
    reader.exec('begin');
    reader.prepare('select count(*) from big').get();
    await store.transaction((tx) => tx.native.query('insert into big values (randomblob(70000000))'));
    const pinned = (): boolean => host.reported.some((signal) => signal.name === 'wal-pinned');
    while (!pinned()) await store.transaction((tx) => tx.native.query('insert into big values (1)'));
    reader.close();
    assert.equal(host.reported.filter((signal) => signal.name === 'wal-pinned').length, 1);
  });
});

describe('what an error means', () => {
  const cases = async (t: TestContext): Promise<(error: unknown) => string> => (await openStore(t, ':memory:')).classify;

  it('is other for what is not the store’s doing', async (t) => {
    const classify = await cases(t);
    const constraint = Object.assign(new Error('UNIQUE'), { code: 'ERR_SQLITE_ERROR', errcode: 2067 });
    for (const error of [new Error('x'), undefined, null, 'text', 7, constraint, { cause: { cause: {} } }]) {
      assert.equal(classify(error), 'other');
    }
    const loop: { cause?: unknown } = {};
    loop.cause = loop;
    assert.equal(classify(loop), 'other');
  });
});

describe('a link to the file', () => {
  it('leads to the same door and the same log', { skip: skipUnless(process.platform !== 'win32', 'needs symbolic links') }, async (t) => {
    const path = folder(t);
    await (await sqlite(join(path, 'catalog.db')).open(testHost())).close();
    mkdirSync(join(path, 'links'));
    symlinkSync(join(path, 'catalog.db'), join(path, 'links', 'catalog.db'));
    const store = await openStore(t, join(path, 'links', 'catalog.db'));
    await store.transaction((tx) => store.ports.outbox.append(tx, [wire()]));
    assert.deepEqual(readdirSync(path).sort(), ['catalog.db', 'catalog.db-shm', 'catalog.db-turn', 'catalog.db-wal', 'links']);
    assert.deepEqual(readdirSync(join(path, 'links')), ['catalog.db']);
  });
});
