/** Subscribers that come later, over a transport that keeps nothing: publishers are asked for what they have sent. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { WaybillError, defineEvent } from 'waybill';
import { type TestBus, createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { Noted, Priced } from './support/contracts.ts';
import { stranger } from './support/stranger.ts';
import { overStores } from './support/stores.ts';

/** What a subscription applied, per key. */
function recorder() {
  const seen: string[] = [];
  return {
    seen,
    handler: (event: { id: string; revision: number }, ctx: any) => ctx.afterCommit(() => void seen.push(`${event.id}${event.revision}`)),
    ofKey: (id: string) => seen.filter((line) => line.startsWith(id)).map((line) => Number(line.slice(1))),
  };
}
const price = (bus: TestBus<any>, id: string, revision: number) => bus.publish(Priced, { id, price: 1, revision });
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

overStores('a late subscriber', (store) => {
  it("from the beginning gets what was sent before it, in order, then the live flow, each once", async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    for (const revision of upTo(700)) await price(catalog, 'ab'[revision % 2]!, revision);
    await catalog.settled();
    await using desk = createTestBus({ service: 'desk', store, transport });
    const { seen, handler, ofKey } = recorder();
    desk.subscribe(Priced, { order: 'by-key', from: 'beginning' }, handler);
    await desk.start();
    await desk.advance(3_000);
    for (const revision of upTo(30)) await price(catalog, 'ab'[revision % 2]!, 700 + revision);
    await desk.settled();
    assert.equal(seen.length, 730);
    assert.deepEqual(ofKey('a'), upTo(730).filter((n) => n % 2 === 0));
    assert.deepEqual(ofKey('b'), upTo(730).filter((n) => n % 2 === 1));
  });

  it('that joins under load, from several publishers, ends equal to an early one', async () => {
    const transport = memory();
    const publishers = ['catalog', 'depot'].map((service) => createTestBus({ service, store, transport }));
    await using early = createTestBus({ service: 'early', store, transport });
    const [one, other] = [recorder(), recorder()];
    early.subscribe(Priced, { order: 'by-key' }, one.handler);
    await early.start();
    let revision = 0;
    const load = async (steps: number): Promise<void> => {
      for (let i = 0; i < steps; i++) {
        const some = upTo(20).map(() => ++revision);
        for (const [p, bus] of publishers.entries()) void bus.publishAll(some.map((n) => Priced.of({ id: 'pq'[p]!, price: 1, revision: n })));
        await early.advance(10);
      }
    };
    await load(12);
    await using late = createTestBus({ service: 'late', store, transport });
    late.subscribe(Priced, { order: 'by-key', from: 'beginning' }, other.handler);
    await late.start();
    await load(25);
    await late.advance(5_000);
    await late.settled();
    for (const key of ['p', 'q']) {
      assert.deepEqual(one.ofKey(key), upTo(740));
      assert.deepEqual(other.ofKey(key), upTo(740));
    }
    for (const bus of publishers) await bus.stop();
  });

  it('from a point in time gets what was committed since', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    for (const revision of upTo(10)) {
      await price(catalog, 'a', revision);
      await catalog.advance(1_000);
    }
    await using desk = createTestBus({ service: 'desk', store, transport });
    const { handler, ofKey } = recorder();
    const began = catalog.clock.now();
    desk.subscribe(Priced, { from: new Date(began - 3_500) }, handler);
    await desk.start();
    await desk.advance(3_000);
    await desk.settled();
    assert.deepEqual(ofKey('a'), [8, 9, 10]);
  });

  it('does not begin again when it starts again, nor when its process dies in the middle', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    for (const revision of upTo(500)) await price(catalog, 'a', revision);
    await using desk = createTestBus({ service: 'desk', store, transport });
    const { seen, handler, ofKey } = recorder();
    desk.subscribe(Priced, { order: 'by-key', from: 'beginning' }, handler);
    desk.crashAfter('inbox.commit', 2);
    await desk.start();
    await desk.advance(10_000);
    desk.crashAfter('before inbox.commit', 1);
    for (const revision of upTo(20)) await price(catalog, 'a', 500 + revision);
    await desk.advance(10_000);
    await desk.settled();
    assert.ok(desk.history().filter(({ signal }) => signal === 'crashed').length >= 2);
    // What committed just before a death could not tell: afterCommit is best effort. So: nothing twice, all applied.
    assert.equal(new Set(seen).size, seen.length);
    assert.deepEqual(ofKey('a'), ofKey('a').toSorted((x, y) => x - y));
    const before = desk.history().length;
    desk.crash();
    await desk.advance(10_000);
    assert.equal(desk.history().slice(before).filter(({ signal }) => signal === 'applied').length, 0);
    assert.ok(desk.history().filter(({ signal }) => signal === 'applied').length >= 520 - 200);
  });

  it('outlives a publisher that restarts in the middle, and joins the others meanwhile', async () => {
    const transport = memory();
    const away = createTestBus({ service: 'away', store, transport });
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    for (const revision of upTo(5)) await price(away, 'w', revision);
    for (const revision of upTo(5)) await price(catalog, 'c', revision);
    await catalog.settled();
    await using desk = createTestBus({ service: 'desk', store, transport });
    const { handler, ofKey } = recorder();
    desk.subscribe(Priced, { order: 'by-key', from: 'beginning' }, handler);
    away.crash();
    await desk.start();
    await desk.advance(5_000);
    for (const revision of upTo(5)) await price(away, 'w', 5 + revision);
    await desk.advance(60_000);
    assert.deepEqual(ofKey('c'), upTo(5));
    assert.deepEqual(ofKey('w'), upTo(10));
    await away.stop();
  });

  it('takes what comes from somebody who cannot be asked, and says so', async () => {
    const transport = memory();
    await using desk = createTestBus({ service: 'desk', store, transport });
    const seen: string[] = [];
    desk.subscribe(Noted, { from: 'beginning' }, (event) => void seen.push(event.text));
    await desk.start();
    const them = await stranger(transport);
    await them.send({});
    await desk.advance(5_000);
    assert.deepEqual(seen, ['strange']);
    const told = desk.history().flatMap(({ signal, detail }) => (signal === 'ledger' ? [(detail as any).error.code] : []));
    assert.deepEqual(told, ['LEDGER_SKIPPED']);
  });

  it('is told when the ledger does not reach back to the beginning', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport, horizonMs: 60_000 });
    for (const revision of upTo(5)) await price(catalog, 'a', revision);
    await catalog.advance(300_000);
    await price(catalog, 'a', 6);
    await using desk = createTestBus({ service: 'desk', store, transport });
    const { handler, ofKey } = recorder();
    desk.subscribe(Priced, { from: 'beginning' }, handler);
    await desk.start();
    await desk.advance(5_000);
    assert.deepEqual(ofKey('a'), [6]);
    assert.ok(desk.history().some(({ signal, detail }) => signal === 'ledger' && WaybillError.is((detail as any).error, 'LEDGER_TRIMMED')));
  });

  it('gets large messages too, a few to a page', async () => {
    const Big = defineEvent('desk.big', { schema: z.object({ text: z.string() }) });
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    for (let i = 0; i < 12; i++) await catalog.publish(Big, { text: `${i}`.padEnd(200_000, 'x') });
    await catalog.settled();
    await using desk = createTestBus({ service: 'desk', store, transport });
    const seen: number[] = [];
    desk.subscribe(Big, { from: 'beginning' }, (event) => void seen.push(Number.parseInt(event.text, 10)));
    await desk.start();
    await desk.advance(20_000);
    assert.deepEqual(seen, upTo(12).map((n) => n - 1));
  });
});
