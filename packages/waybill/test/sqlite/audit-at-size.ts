/**
 * An audit over a long ledger: `node packages/waybill/test/sqlite/audit-at-size.ts [messages]`, by default a million, all but
 * every thousandth applied. Tells what it found, how long it took, and how far the heap grew while it ran.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBus, defineEvent } from 'waybill';
import { operations } from 'waybill/operations';
import * as z from 'zod';

const messages = Number(process.argv[2] ?? 1_000_000);
const Priced = defineEvent('catalog.priced', { schema: z.object({ id: z.string() }) });
const folder = mkdtempSync(join(tmpdir(), 'waybill-audit-'));
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const open = (service: string) => createBus({ service, store: `sqlite:${join(folder, `${service}.db`)}`, transport: `sqlite:${folder}`, logger: silent });
try {
  await using catalog = open('catalog');
  await using desk = open('desk');
  desk.subscribe(Priced, { name: 'prices', from: 'beginning' }, () => {});
  await catalog.transaction(async (tx) => {
    await tx.query(
      `insert into waybill_ledger (kind, id, source, type, time, appended, headers, body)
       with recursive n(i) as (select 1 union all select i + 1 from n where i < $1)
       select 'event', 'm' || i, 'catalog', $2, 1, 1, '{}', zeroblob(200) from n`,
      [messages, Priced.type],
    );
  });
  // The subscription is there, and what it applied.
  await desk.transaction(async (tx) => {
    await tx.query(
      `insert into waybill_inbox (subscription, source, id, time)
       with recursive n(i) as (select 1 union all select i + 1 from n where i < $1)
       select 'desk.prices', 'catalog', 'm' || i, 0 from n where i % 1000 <> 0`,
      [messages],
    );
  });
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().heapUsed - before)), 20);
  const began = performance.now();
  const entry = (await operations(desk).audit({ sources: ['catalog'] }))[0]!;
  clearInterval(watch);
  const { published, applied, pending, lost } = entry;
  console.log({ published, applied, pending, lost, seconds: Math.round((performance.now() - began) / 100) / 10, heapMb: Math.round(most / 1e5) / 10 });
  assert.deepEqual([published, applied, pending + lost], [messages, messages - Math.floor(messages / 1_000), Math.floor(messages / 1_000)]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
