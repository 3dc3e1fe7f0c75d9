/** What the command line and the dashboard ask, over a bus. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { Noted, Priced, Seen, Ship } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

overStores('operations(bus).failures', (store) => {
  it('lists with everything one wants to know, in pages, by filter', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { retry: false }, (event) => {
      throw new Error(event.text);
    });
    bus.subscribe(Seen, { retry: false }, () => {
      throw new Error('seen');
    });
    const began = new Date(bus.clock.now());
    await bus.publishAll([...Array.from({ length: 5 }, (_, i) => Noted.of({ text: `n${i}` }, { headers: { who: 'ann' } })), Seen.of({ what: 's' }), Ship.of({ orderId: 'o' })]);
    await bus.settled();
    const { failures } = operations(bus);
    const all = await failures.list();
    assert.equal(all.length, 7);
    const { row: _, stack, id, body, headers, ...first } = all.find(({ subscription }) => subscription === 'desk.desk.noted')!;
    assert.deepEqual(first, {
      subscription: 'desk.desk.noted',
      source: 'desk',
      type: 'desk.noted.v1',
      key: undefined,
      code: 'HANDLER_FAILED',
      message: 'n0',
      attempts: 1,
      firstFailed: began,
      lastFailed: began,
    });
    assert.match(stack!, /operations\.test\.ts/);
    assert.equal(headers['ce-id'], id);
    assert.equal(headers.who, 'ann');
    assert.equal(Buffer.from(body).toString(), '{"text":"n0"}');
    assert.equal((await failures.list({ type: 'desk.noted.v1' })).length, 5);
    assert.equal((await failures.list({ code: 'UNROUTABLE' })).length, 1);
    assert.equal((await failures.list({ subscription: null })).length, 1);
    assert.equal((await failures.list({ subscription: 'desk.desk.seen' })).length, 1);
    assert.equal((await failures.list({ id })).length, 1);
    const page = await failures.list({ limit: 3 });
    const next = await failures.list({ limit: 100, after: page.at(-1)!.row });
    assert.deepEqual([...page, ...next].map(({ row }) => row), all.map(({ row }) => row));
    const { sentences, ...counts } = await operations(bus).status();
    assert.deepEqual(counts, { ready: 0, waiting: 0, failed: 7 });
    assert.match(sentences.join(), /^7 messages have failed, 5 of them in desk\.desk\.noted /);
  });

  it('takes no misspelt or unset filter for everything', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { retry: false }, () => {
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'kept' });
    await bus.settled();
    const { failures, waiting, outbox } = operations(bus);
    const refused = { code: 'INVALID_OPTION' };
    for (const which of [{ subscripton: 'x' }, { id: undefined }, { group: 7 }, { limit: -1 }, { rows: ['1'] }, { rows: undefined }, undefined, null, 'all'] as never[]) {
      await assert.rejects(failures.delete(which), refused);
      await assert.rejects(failures.retry(which), refused);
    }
    await assert.rejects(failures.list({ max: 2 } as never), refused);
    await assert.rejects(waiting.list({ type: 'x' } as never), refused);
    await assert.rejects(outbox.list({ status: 'ready' } as never), refused);
    assert.equal((await failures.list({ id: undefined } as never)).length, 1);
  });

  it('retries more than a page at once', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    let runs = 0;
    bus.subscribe(Noted, { retry: false }, () => {
      runs++;
      if (broken) throw new Error('no');
    });
    await bus.publishAll(Array.from({ length: 1_200 }, (_, i) => Noted.of({ text: String(i) })));
    await bus.settled();
    broken = false;
    runs = 0;
    assert.equal(await operations(bus).failures.retry({ type: 'desk.noted.v1' }), 1_200);
    await bus.settled();
    assert.equal(runs, 1_200);
    assert.equal((await operations(bus).status()).failed, 0);
  });

  it('edits one that cannot succeed as it is, within its contract, and runs it again', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const applied: unknown[] = [];
    bus.subscribe(Priced, { order: 'by-key', retry: false }, (event, ctx) => {
      if (event.price < 0) throw new Error('below nothing');
      applied.push([event.price, ctx.message.id]);
    });
    const { id } = await bus.publish(Priced, { id: 'mug', price: -5, revision: 1 });
    await bus.settled();
    const { failures } = operations(bus);
    const row = (await failures.list())[0]!.row;
    await assert.rejects(failures.edit(row, { id: 'mug', price: 'five', revision: 1 }), { code: 'CONTRACT_VIOLATION' });
    await assert.rejects(failures.edit(row, { id: 'cup', price: 5, revision: 1 }), { code: 'INVALID_OPTION', message: /the key \(mug → cup\)/ });
    await assert.rejects(failures.edit(row, { id: 'mug', price: 5, revision: 2 }), { code: 'INVALID_OPTION', message: /the sequence/ });
    await assert.rejects(failures.edit(1.5, {}), { code: 'INVALID_OPTION' });
    assert.equal(await failures.edit(row + 1, { id: 'mug', price: 5, revision: 1 }), false);
    assert.equal((await failures.list()).length, 1, 'a refused edit leaves it');
    const both = await Promise.all([5, 6].map((price) => failures.edit(row, { id: 'mug', price, revision: 1 })));
    assert.equal(both.filter(Boolean).length, 1);
    await bus.settled();
    assert.deepEqual(applied, [[both[0] ? 5 : 6, id]]);
    assert.equal((await failures.list()).length, 0);
  });

  it('edits what could not be sent', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.send(Ship, { orderId: 'o' });
    await bus.settled();
    const { failures } = operations(bus);
    const [first] = await failures.list();
    assert.ok(await failures.edit(first!.row, { orderId: 'p' }));
    await bus.settled();
    const [again] = await failures.list();
    assert.deepEqual([again!.id, Buffer.from(again!.body).toString()], [first!.id, '{"orderId":"p"}']);
  });

  it('retries once, although two ask at the same time', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    let runs = 0;
    bus.subscribe(Noted, { retry: false }, () => {
      runs++;
      if (broken) throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    broken = false;
    const counts = await Promise.all([operations(bus).failures.retry({}), operations(bus).failures.retry({})]);
    assert.equal(counts[0] + counts[1], 1);
    await bus.settled();
    assert.equal(runs, 2);
  });
});

overStores('operations(bus).waiting', (store) => {
  it('lists what is delayed and what will be retried, and why', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Priced, { order: 'by-key' }, () => {
      throw new Error('not now');
    });
    await bus.publish(Noted, { text: 'later' }, { delayMs: 60_000 });
    await bus.publishAll([1, 2].map((revision) => Priced.of({ id: 'p', price: 1, revision })));
    await bus.settled();
    const rows = await operations(bus).waiting.list();
    assert.deepEqual(
      rows.map(({ subscription, reason, attempt, attempts, key, error }) => ({ subscription, reason, attempt, attempts, key, error })),
      [
        { subscription: undefined, reason: 'delayed', attempt: 0, attempts: 1, key: undefined, error: undefined },
        { subscription: 'desk.catalog.priced', reason: 'retry', attempt: 3, attempts: 11, key: 'p', error: { code: 'HANDLER_FAILED', message: 'not now' } },
        { subscription: 'desk.catalog.priced', reason: 'behind', attempt: 0, attempts: 11, key: 'p', error: undefined },
      ],
    );
    assert.ok(rows[0]!.due.getTime() === bus.clock.now() + 60_000);
    assert.equal((await operations(bus).waiting.list({ subscription: null })).length, 1);
    assert.equal((await operations(bus).waiting.list({ subscription: 'desk.catalog.priced' })).length, 2);
  });

  it('runs a row now, or takes it back for good', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    let runs = 0;
    bus.subscribe(Noted, () => {
      runs++;
      if (broken) throw new Error('no');
    });
    await bus.publishAll([Noted.of({ text: 'a' }), Noted.of({ text: 'b' })]);
    await bus.settled();
    broken = false;
    const [first, second] = await operations(bus).waiting.list();
    assert.equal(await operations(bus).waiting.run(first!.row), true);
    await bus.settled();
    assert.equal(runs, 7);
    assert.equal(await operations(bus).waiting.cancel(second!.row), true);
    assert.equal(await operations(bus).waiting.cancel(second!.row), false);
    assert.equal(await operations(bus).waiting.run(first!.row), false);
    await bus.advance(600_000);
    assert.equal(runs, 7);
  });

  it('sends a delayed message now', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'a' }, { delayMs: 3_600_000 });
    const [row] = await operations(bus).waiting.list();
    assert.equal(await operations(bus).waiting.run(row!.row), true);
    await bus.settled();
    assert.deepEqual(seen, ['a']);
  });
});

overStores('operations(bus).outbox', (store) => {
  it('lists what was sent, with its state, in pages', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.publishAll([Noted.of({ text: 'a' }), Priced.of({ id: 'p', price: 1, revision: 1 }), Ship.of({ orderId: 'o' })]);
    await bus.settled();
    const rows = await operations(bus).outbox.list();
    assert.deepEqual(
      rows.map(({ type, kind, recipient, key, state, timeMs }) => ({ type, kind, recipient, key, state, timeMs })),
      [
        { type: 'desk.noted.v1', kind: 'event', recipient: undefined, key: undefined, state: 'published', timeMs: bus.clock.now() },
        { type: 'catalog.priced.v1', kind: 'event', recipient: undefined, key: 'p', state: 'published', timeMs: bus.clock.now() },
        { type: 'orders.ship.v1', kind: 'command', recipient: 'orders', key: undefined, state: 'failed', timeMs: bus.clock.now() },
      ],
    );
    assert.equal((await operations(bus).outbox.list({ state: 'failed' })).length, 1);
    assert.equal((await operations(bus).outbox.list({ id: rows[0]!.id })).length, 1);
    assert.deepEqual((await operations(bus).outbox.list({ limit: 1, after: rows[0]!.position })).map(({ type }) => type), ['catalog.priced.v1']);
  });

  it('forgets after the horizon', async () => {
    await using bus = createTestBus({ service: 'desk', store, horizonMs: 60_000 });
    bus.subscribe(Noted, () => {});
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(130_000);
    assert.deepEqual(await operations(bus).outbox.list(), []);
  });
});

overStores('operations(bus).status', (store) => {
  it('says what is failing, stuck, behind and silent, and nothing when all is well', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    await using stock = createTestBus({ service: 'stock', store, transport });
    await using desk = createTestBus({ service: 'desk', store, transport });
    const { status } = operations(desk);
    const notes = desk.subscribe(Noted, { name: 'notes', retry: false }, ({ text }) => {
      if (text === 'bad') throw new Error('no');
    });
    desk.subscribe(Seen, { name: 'sights' }, () => {});
    await catalog.publish(Noted, { text: 'a' });
    await stock.publish(Seen, { what: 'b' });
    await desk.settled();
    assert.deepEqual((await status()).sentences, []);

    await catalog.publish(Noted, { text: 'bad' });
    await desk.settled();
    await notes.pause();
    await catalog.publishAll([Noted.of({ text: 'c' }), Noted.of({ text: 'd' })]);
    await stock.stop();
    await desk.advance(30_000);
    const { sentences } = await status();
    assert.equal(sentences.length, 2, sentences.join('\n'));
    assert.equal(sentences[0], '1 message has failed, all of them in desk.notes (HANDLER_FAILED: no): see failures.groups(), mend the cause, then failures.retry().');
    assert.match(sentences[1]!, /^stock has not been heard of, for \d+ s at most: is it running\?$/);
    await operations(desk).failures.delete({});
    assert.match((await status()).sentences[0]!, /^1 subscription is behind, desk\.notes most: 2 messages of catalog wait\.$/);
  });
});

it('operations(bus).status says what is committed and cannot be sent', async () => {
  await using desk = createTestBus({ service: 'desk', store: 'memory:', relay: 'off' });
  await desk.publish(Noted, { text: 'a' });
  assert.deepEqual((await operations(desk).status()).sentences, [], 'it may be sent in a moment');
  await desk.advance(90_000);
  assert.deepEqual((await operations(desk).status()).sentences, ['1 message was committed and not sent, the oldest 90 s ago: is the broker there, and a bus with a relay?']);
});
