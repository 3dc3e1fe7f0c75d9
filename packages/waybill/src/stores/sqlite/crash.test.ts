import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { child, folder } from '../../../test/sqlite/support.ts';

const cycles = 8;

/** What is wrong with a file: damaged pages, half a pair, or something acknowledged that is missing. */
function faults(file: string, acknowledged: number): string[] {
  const database = new DatabaseSync(file);
  try {
    const check = database.prepare('pragma integrity_check').get() as { integrity_check: string };
    const count = (sql: string): number => (database.prepare(sql).get() as { n: number }).n;
    const [rows, messages, taken] = [
      count('select count(*) as n from item'),
      count('select count(distinct id) as n from waybill_ledger'),
      count('select count(*) as n from waybill_inbox'),
    ];
    return [
      ...(check.integrity_check === 'ok' ? [] : [check.integrity_check]),
      ...(rows === messages && rows === taken ? [] : [`${rows} rows, ${messages} messages, ${taken} taken on`]),
      ...(rows >= acknowledged ? [] : [`${acknowledged} acknowledged, ${rows} there`]),
    ];
  } finally {
    database.close();
  }
}

describe('kill -9 inside transactions', () => {
  it('leaves an intact file with whole transactions, and all that were acknowledged', async (t) => {
    const file = join(folder(t), 'catalog.db');
    let acknowledged = 0;
    for (let cycle = 0; cycle < cycles; cycle++) {
      const writer = child(t, 'crash.ts', { file });
      for (let i = 0; i < 5 + cycle * 3; i++) acknowledged = Math.max(acknowledged, await writer.next<number>());
      writer.process.kill('SIGKILL');
      for await (const line of { [Symbol.asyncIterator]: () => writer.lines }) acknowledged = Math.max(acknowledged, Number(line));
      await writer.ended();
      assert.deepEqual(faults(file, acknowledged), [], `after ${cycle + 1} kills`);
    }
    assert.ok(acknowledged > cycles * 5);
  });

  it('would be seen: half a pair, a lost acknowledgement (control)', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const writer = child(t, 'crash.ts', { file });
    await writer.next();
    writer.process.kill('SIGKILL');
    await writer.ended();
    assert.equal(faults(file, 1_000_000).length, 1);
    const database = new DatabaseSync(file);
    database.exec('delete from waybill_ledger where position = 1');
    database.close();
    assert.equal(faults(file, 1).length, 1);
  });
});
