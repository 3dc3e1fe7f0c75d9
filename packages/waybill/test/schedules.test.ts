/** Messages that are sent again and again. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { memory as memoryStore } from '../src/stores/memory/index.ts';
import { CreateOrder, Noted } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

const code = (expected: string) => (error: unknown) => WaybillError.is(error, expected as never) || assert.fail(`${String(error)}, not ${expected}`);
const tick = Noted.of({ text: 'tick' });

overStores('a schedule', (store) => {
  it('sends a message each time, and never before', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    desk.subscribe(Noted, (_, ctx) => void seen.push(ctx.message.id));
    await desk.schedule('hourly', { everyMs: 10_000 }, tick);
    await desk.advance(9_999);
    assert.equal(seen.length, 0);
    await desk.advance(1);
    assert.equal(seen.length, 1);
    await desk.advance(20_000);
    assert.equal(seen.length, 3);
    assert.equal(new Set(seen).size, 3);
  });

  it('is there once for all instances of a service', async () => {
    const disk = store === 'memory:' ? memoryStore() : undefined;
    if (!disk) return;
    const transport = memory();
    await using one = createTestBus({ service: 'desk', store: disk, transport });
    await using two = createTestBus({ service: 'desk', store: disk, transport });
    const seen: string[] = [];
    one.subscribe(Noted, (event) => void seen.push(event.text));
    for (const bus of [one, two]) await bus.schedule('each', { everyMs: 1_000 }, tick);
    await one.advance(5_000);
    assert.equal(seen.length, 5);
  });

  it('goes on after a crash, and what was missed happens once', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    await desk.schedule('each', { everyMs: 10_000 }, tick);
    desk.crashAfter('before outbox.commit');
    await desk.advance(10_500);
    await desk.settled();
    assert.equal(desk.published(Noted).length, 1);
    await desk.advance(9_500);
    assert.equal(desk.published(Noted).length, 2);

    const transport = memory();
    const disk = memoryStore();
    const first = createTestBus({ service: 'desk', store: disk, transport });
    await first.schedule('each', { everyMs: 10_000 }, tick);
    await first.stop();
    await first.clock.advance(75_000);
    await using second = createTestBus({ service: 'desk', store: disk, transport });
    await second.schedule('each', { everyMs: 10_000 }, tick);
    await second.settled();
    assert.equal(second.published(Noted).length, 1, 'seven times were missed');
    await second.advance(4_999);
    assert.equal(second.published(Noted).length, 1, 'the next one is on the grid of the first');
    await second.advance(1_001);
    assert.equal(second.published(Noted).length, 2);
  });

  it('comes by cron, in its time zone, over the change to summer time', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    await desk.schedule('morning', { cron: '0 8 * * *', timeZone: 'Europe/Berlin' }, tick);
    const [row] = await operations(desk).waiting.list();
    assert.equal(row!.reason, 'schedule');
    const local = (date: Date): string => date.toLocaleTimeString('de-DE', { timeZone: 'Europe/Berlin', hour: '2-digit', minute: '2-digit' });
    assert.equal(local(row!.due), '08:00');
  });

  it('is replaced by another time or message of its name, and ended by cancel', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    await desk.schedule('each', { everyMs: 3_600_000 }, tick);
    const { cancel } = await desk.schedule('each', { everyMs: 1_000 }, Noted.of({ text: 'tock' }));
    await desk.advance(2_000);
    assert.deepEqual(desk.published(Noted), [{ text: 'tock' }, { text: 'tock' }]);
    assert.equal(await cancel(), true);
    assert.equal(await cancel(), false);
    await desk.advance(5_000);
    assert.equal(desk.published(Noted).length, 2);
    assert.deepEqual(await operations(desk).waiting.list(), []);
  });

  it('refuses what is no time, no message, or does not fit its contract', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    for (const when of [{}, { everyMs: 5 }, { everyMs: 1_000, cron: '* * * * *' }, { everyMs: 1_000, timeZone: 'UTC' }, { cron: 'nonsense' }, { cron: '* * * * *', timeZone: 'Mars' }, { each: 1 }, undefined]) {
      await assert.rejects(desk.schedule('s', when as never, tick), code('INVALID_OPTION'), JSON.stringify(when));
    }
    await assert.rejects(desk.schedule('No name!', { everyMs: 1_000 }, tick), code('INVALID_OPTION'));
    await assert.rejects(desk.schedule('s', { everyMs: 1_000 }, {} as never), code('INVALID_CONTRACT'));
    await assert.rejects(desk.schedule('s', { everyMs: 1_000 }, Noted.of({} as never)), code('CONTRACT_VIOLATION'));
    await assert.rejects(desk.schedule('s', { everyMs: 1_000 }, Noted.of({ text: '' }, { id: 'x' })), code('INVALID_OPTION'));
    assert.deepEqual(await operations(desk).waiting.list(), []);
  });

  it('that cannot be sent any more stops no other, and says so', async () => {
    let broken = false;
    await using desk = createTestBus({ service: 'desk', store });
    desk.use({
      publish: async (message, next) => {
        if (broken && message.id.startsWith('schedule:bad')) throw new Error('no');
        await next(message);
      },
    });
    await desk.schedule('bad', { everyMs: 1_000 }, Noted.of({ text: 'bad' }));
    await desk.schedule('good', { everyMs: 1_000 }, Noted.of({ text: 'good' }));
    broken = true;
    await desk.advance(3_500);
    assert.deepEqual(desk.published(Noted).map(({ text }) => text), ['good', 'good', 'good']);
    assert.ok(desk.history().some(({ signal }) => signal === 'trouble'));
    broken = false;
    await desk.advance(2_000);
    assert.ok(desk.published(Noted).some(({ text }) => text === 'bad'));
  });

  it('may send a command', async () => {
    const transport = memory();
    await using shop = createTestBus({ service: 'shop', store, transport });
    await using orders = createTestBus({ service: 'orders', store, transport });
    let runs = 0;
    orders.handle(CreateOrder, () => ({ orderId: String(++runs) }));
    await shop.schedule('order', { everyMs: 1_000 }, CreateOrder.of({ product: 'p', amount: 1 }));
    await shop.advance(3_000);
    assert.equal(runs, 3);
  });
});
