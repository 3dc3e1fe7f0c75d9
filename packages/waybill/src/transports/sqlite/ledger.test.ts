import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { applyNew, drain, folder, inside, message, publish, start, subscription } from '../../../test/transport-sqlite/world.ts';
import { openLedger, type Ledger } from './ledger.ts';

test('who has read up to an end hears of the next where nothing he wants lies between, once enough have asked', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'first');
  const ledger = openLedger(join(directory, 'catalog.db'), 'catalog', 0) as Ledger;
  t.after(() => ledger.close());
  const type = inside(join(directory, 'catalog.db'), (db) => (db.prepare('select type from waybill_ledger').get() as { type: string }).type);
  const before = ledger.head;
  await publish(catalog, 'second');
  assert.ok(ledger.look(1));
  for (let i = 0; i < 3; i++) assert.equal(ledger.past(before, ['basket.other.v1']), undefined, 'the first read for themselves');
  assert.deepEqual(ledger.past(before, ['basket.other.v1']), ledger.head);
  assert.equal(ledger.past(before, ['basket.other.v1', type]), undefined, 'it is wanted');
  assert.equal(ledger.past({ position: before.position, anchor: 'another' }, ['basket.other.v1']), undefined, 'another history');
  const between = ledger.head;
  await publish(catalog, 'third');
  ledger.look(2);
  for (let i = 0; i < 3; i++) ledger.past(between, []);
  assert.deepEqual(ledger.past(before, ['basket.other.v1']), ledger.head, 'over both');
});

test('an end behind which the file was rewritten tells nothing', async (t) => {
  const directory = folder(t);
  const file = join(directory, 'catalog.db');
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'first');
  const ledger = openLedger(file, 'catalog', 0) as Ledger;
  t.after(() => ledger.close());
  const before = ledger.head;
  await publish(catalog, 'second');
  ledger.look(1);
  inside(file, (db) => db.exec(`update waybill_ledger set id = 'restored' where position = ${before.position}`));
  for (let i = 0; i < 5; i++) assert.equal(ledger.past(before, ['basket.other.v1']), undefined);
  inside(file, (db) => db.exec(`delete from waybill_ledger where position > ${before.position}`));
  assert.ok(ledger.look(2));
  for (let i = 0; i < 5; i++) assert.equal(ledger.past(before, ['basket.other.v1']), undefined, 'it went back');
});

test('of many subscriptions each gets what is for it, also after much that was for others', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  const names = Array.from({ length: 6 }, (_, n) => `basket.s${n}`);
  const consumers = [];
  for (const [n, name] of names.entries()) {
    const declaration = subscription(name, { ...(n > 0 && { bindings: [{ type: `catalog.other${n}.v1`, kind: 'event' as const }] }) });
    await basket.session.declare(declaration);
    consumers.push(await basket.session.consume(declaration));
  }
  for (const consumer of consumers) assert.deepEqual(await drain(consumer), []);
  const rest = consumers.slice(1);
  for (let round = 0; round < 4; round++) {
    await publish(catalog, `round ${round}`);
    assert.deepEqual(await applyNew(basket, consumers[0]!, names[0]!, 1), [`round ${round}`]);
  }
  for (const consumer of rest) assert.deepEqual(await drain(consumer), []);
  const last = rest.at(-1)!;
  inside(join(directory, 'catalog.db'), (db) => db.exec(`insert into waybill_ledger (kind, id, source, type, key, time, headers, body, appended)
    select kind, 'for the last', source, 'catalog.other5.v1', key, time, replace(headers, id, 'for the last'), body, appended from waybill_ledger order by position desc limit 1`));
  const got = await last.receive(10, { waitMs: 5_000, signal: new AbortController().signal });
  assert.equal(got.length, 1);
  for (const consumer of rest.slice(0, -1)) assert.deepEqual(await drain(consumer), []);
});

test('rows come as they were written, whatever of them is unusual', async (t) => {
  const directory = folder(t);
  const file = join(directory, 'catalog.db');
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'usual', message('elsewhere', 'of another source'), message('catalog', 'a command', { kind: 'command', recipient: 'basket' }));
  inside(file, (db) =>
    db.exec(`insert into waybill_ledger (kind, id, source, type, key, time, headers, body, appended)
      select kind, 'delayed', source, type, 'k', time - 1000, '+', body, appended from waybill_ledger where position = 1;
      insert into waybill_ledger (kind, id, source, type, key, time, headers, body, appended)
      select kind, 'with headers', source, type, 'k', time, '+{"a":"b"}', body, appended from waybill_ledger where position = 1`),
  );
  const rows = inside(file, (db) => db.prepare('select * from waybill_ledger order by position').all()).map((row) => ({ ...row }));
  const ledger = openLedger(file, 'catalog', 0) as Ledger;
  t.after(() => ledger.close());
  assert.equal(new Set(rows.map(({ source }) => source)).size, 2);
  assert.deepEqual(new Set(rows.map(({ kind }) => kind)), new Set(['event', 'command']));
  const types = [...new Set(rows.map(({ type }) => type as string))];
  assert.deepEqual(ledger.window(0, 9, 'basket', types, 9), rows);
  // The row at the cursor has been read before: its body is not asked for.
  assert.deepEqual(ledger.window(2, 9, 'basket', types, 9), rows.slice(1).map((row, at) => (at === 0 ? { ...row, body: null } : row)));
});

test('a ledger is believed once its log is on the disk: what a dead process left there may be on none', async (t) => {
  const directory = folder(t);
  const file = join(directory, 'catalog.db');
  await publish(await start(t, directory, 'catalog'), 'one'); // its log stays while it is open
  const { openSync, fsyncSync } = fs;
  const opened = new Map<number, string>();
  const synced: (string | undefined)[] = [];
  fs.openSync = ((path: string, ...rest: [any]) => {
    const handle = openSync(path, ...rest);
    opened.set(handle, path);
    return handle;
  }) as typeof openSync;
  fs.fsyncSync = (handle) => (fsyncSync(handle), void synced.push(opened.get(handle)));
  syncBuiltinESMExports();
  try {
    (openLedger(file, 'catalog', 0) as Ledger).close();
  } finally {
    Object.assign(fs, { openSync, fsyncSync });
    syncBuiltinESMExports();
  }
  assert.deepEqual(synced, [`${file}-wal`]);
});
