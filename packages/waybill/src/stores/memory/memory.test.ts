/** What the suite does not ask: sessions that end in the middle, the wait for a turn in virtual time. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from '../../contract/errors.ts';
import type { StoreSession } from '../../contract/store.ts';
import { virtualClock, type VirtualClock } from '../../testing/clock.ts';
import { recordingHost } from '../../testing/conformance/host.ts';
import { message } from '../../testing/conformance/message.ts';
import { memory } from './index.ts';

const key = { source: 'catalog', id: 'a' };
const isOver = (error: unknown): boolean => WaybillError.is(error, 'NOT_A_TRANSACTION');

async function open(): Promise<{ clock: VirtualClock; one: StoreSession; two: StoreSession }> {
  const clock = virtualClock();
  const store = memory();
  return { clock, one: await store.open(recordingHost('basket', clock)), two: await store.open(recordingHost('basket', clock)) };
}

describe('memory store', () => {
  it('is one store per value: two values know nothing of each other', async () => {
    const [{ one }, { one: other }] = [await open(), await open()];
    await one.transaction((tx) => one.ports.inbox.insert(tx, 'basket.prices', [key]));
    assert.equal(await other.ports.inbox.has('basket.prices', key), false);
  });

  it('leaves nothing of a transaction whose session closes, and lets the next one in', async () => {
    const { one, two } = await open();
    const gate = Promise.withResolvers<void>();
    const dead = one.transaction(async (tx) => {
      await one.ports.inbox.insert(tx, 'basket.prices', [key]);
      await gate.promise;
      await one.ports.inbox.insert(tx, 'basket.prices', [{ ...key, id: 'b' }]);
    });
    const waiting = two.transaction((tx) => two.ports.inbox.insert(tx, 'basket.prices', [key]));
    await one.close();
    assert.deepEqual(await waiting, [true]);
    gate.resolve();
    await assert.rejects(dead, isOver);
    assert.equal(await two.ports.inbox.has('basket.prices', { ...key, id: 'b' }), false);
  });

  it('passes over a session that closed while it waited for its turn', async () => {
    const { one, two } = await open();
    const gate = Promise.withResolvers<void>();
    const first = one.transaction(() => gate.promise);
    const second = two.transaction((tx) => two.ports.inbox.insert(tx, 'basket.prices', [key]));
    const third = one.transaction((tx) => one.ports.inbox.insert(tx, 'basket.prices', [key]));
    await two.close();
    gate.resolve();
    await first;
    await assert.rejects(second, isOver);
    assert.deepEqual(await third, [true]);
  });

  it('gives up its wait for a turn by its clock, and keeps its place for nobody', async () => {
    const { clock, one, two } = await open();
    const gate = Promise.withResolvers<void>();
    const first = one.transaction(() => gate.promise);
    const second = two.transaction((tx) => two.ports.inbox.insert(tx, 'basket.prices', [key]));
    second.catch(() => {});
    await clock.advance(60_000);
    await assert.rejects(second, (error) => WaybillError.is(error, 'STORE_BUSY'));
    gate.resolve();
    await first;
    assert.deepEqual(await two.transaction((tx) => two.ports.inbox.insert(tx, 'basket.prices', [key])), [true]);
    assert.equal(clock.next(), undefined);
  });

  it('has no SQL, and says so only while the transaction is open', async () => {
    const { one } = await open();
    const query = (native: unknown): Promise<unknown> => (native as { query(text: string): Promise<unknown> }).query('select 1');
    const native = await one.transaction(async (tx) => {
      await assert.rejects(query(tx.native), (error) => WaybillError.is(error, 'NO_SQL'));
      return { tx: tx.native };
    });
    await assert.rejects(query(native.tx), isOver);
  });

  it('keeps bytes of its own', async () => {
    const { one } = await open();
    const sent = message('as sent');
    await one.transaction((tx) => one.ports.outbox.append(tx, [sent]));
    sent.body.fill(0);
    const lease = await one.ports.outbox.acquire('one', 1_000);
    const [row] = await lease!.read(1);
    assert.equal(new TextDecoder().decode(row!.body), 'as sent');
    row!.body.fill(0);
    await lease!.release();
    const [again] = await (await one.ports.outbox.acquire('two', 1_000))!.read(1);
    assert.equal(new TextDecoder().decode(again!.body), 'as sent');
  });
});
