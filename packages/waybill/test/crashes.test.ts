/** The process dies at each point in turn; afterwards every message has had its effect exactly once, or is in failures. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from 'waybill';
import { crashPoints, createTestBus, type TestBus } from 'waybill/testing';
import { operations } from 'waybill/operations';
import type { MaybePromise } from '../src/contract/store.ts';
import { memory } from '../src/stores/memory/index.ts';
import { memory as transportInMemory } from '../src/transports/memory/index.ts';
import { CreateOrder, Noted, Priced, Seen } from './support/contracts.ts';

const rowsOf = async (bus: TestBus<any>, sql: string): Promise<any[]> =>
  (await bus.transaction<{ rows: any[] }>((tx) => tx.query(sql))).rows;

/** The rooms' whole way, with a handler that fails twice, a delayed message, and a reaction to the reaction. */
for (const transaction of ['shared', 'own', 'manual'] as const) {
  for (const point of crashPoints) {
    for (const { nth, rerun } of [{ nth: 1, rerun: false }, { nth: 3, rerun: false }, { nth: 2, rerun: true }]) {
      describe(`a crash at '${point}', time ${nth}, with '${transaction}' handlers${rerun ? ', each transaction run twice' : ''}`, () => {
        it('loses nothing, doubles nothing, invents nothing', async () => {
          await using bus = createTestBus({ service: 'desk', rerun });
          const write = async (tx: any, what: string): Promise<void> => {
            await tx.query('insert into effect (what) values ($1)', [what]);
          };
          let fails = 2;
          bus.subscribe(Noted, { name: 'notes', transaction: transaction as 'shared', retry: { immediate: 0, delayed: 8 } }, async (event, ctx: any) => {
            const work = async (tx: any): Promise<void> => {
              await write(tx, event.text);
              await ctx.publish(Seen, { what: event.text });
              if (event.text === 'flaky' && fails-- > 0) throw new Error('not yet');
            };
            await (transaction === 'manual' ? ctx.transaction(work) : work(ctx.tx));
          });
          bus.subscribe(Seen, { name: 'reactions' }, (event, ctx: any) => write(ctx.tx, `saw ${event.what}`));
          bus.subscribe(Noted, { name: 'doomed', retry: false }, (event) => {
            if (event.text === 'doomed') throw new Error('never');
          });
          await bus.transaction(async (tx) => {
            await tx.query('create table effect (what text)');
            await tx.query('create table wanted (what text)');
          });
          await bus.settled();

          const attempt = async (text: string, options: object = {}): Promise<void> => {
            await bus.once('test', text, async (tx) => {
              await tx.query('insert into wanted (what) values ($1)', [text]);
              await bus.publish(Noted, { text }, { tx, ...options });
            });
          };
          bus.crashAfter(point, nth);
          const all = ['a', 'flaky', 'doomed', 'b'];
          // The client asks again until it hears: a call that the process died in never comes back.
          for (let tries = 0; tries < 3; tries++) {
            for (const text of all) {
              void attempt(text);
              void attempt(`late ${text}`, { delayMs: 5_000 });
            }
            await bus.advance(60);
            await bus.settled();
          }
          await bus.advance(30_000);
          await bus.settled();

          const wanted = (await rowsOf(bus, 'select what from wanted')).map((row) => row.what as string).toSorted();
          assert.deepEqual(wanted, all.flatMap((text) => [text, `late ${text}`]).toSorted());
          const effects = (await rowsOf(bus, 'select what from effect')).map((row) => row.what as string).toSorted();
          assert.deepEqual(effects, wanted.flatMap((text) => [text, `saw ${text}`]).toSorted());
          assert.deepEqual(bus.published(Noted).map(({ text }) => text).toSorted(), wanted);
          assert.deepEqual((await bus.failures()).map(({ subscription, message }) => [subscription, Buffer.from(message.body).toString()]), [
            ['desk.doomed', '{"text":"doomed"}'],
          ]);
          assert.deepEqual(await operations(bus).waiting.list(), []);
          assert.equal((await operations(bus).status()).ready, 0);
        });
      });
    }
  }
}

describe('a crash', () => {
  for (const transaction of ['shared', 'own', 'manual'] as const) {
    it(`is told of by the broker's count, in each run that follows, with '${transaction}' handlers`, async () => {
      await using bus = createTestBus({ service: 'desk', transport: transportInMemory() });
      const counts: (number | undefined)[] = [];
      bus.subscribe(Noted, { transaction: transaction as 'shared', retry: { immediate: 1, delayed: 1 } }, (_, { deliveryCount }) => {
        counts.push(deliveryCount);
        if (deliveryCount !== 0) throw new Error('never');
      });
      await bus.start();
      bus.crashAfter('before inbox.commit');
      await bus.publish(Noted, { text: 'a' });
      await bus.advance(60_000);
      await bus.settled();
      assert.deepEqual(counts, [0, 1, 1, 1]);
      const [failed] = await bus.failures();
      assert.deepEqual(Object.keys(failed!.message.headers).filter((name) => name.includes('count')), [], 'a note of the inbox, not of the message');
      await operations(bus).failures.retry({});
      await bus.settled();
      assert.equal(counts[4], undefined, 'what was parked is not handed out by a broker');
    });
  }

  for (const point of crashPoints) {
    it(`at '${point}' keeps the order of a key`, async () => {
      await using bus = createTestBus({ service: 'view' });
      const seen: string[] = [];
      let fails = 1;
      bus.subscribe(Priced, { order: 'by-key' }, (event, ctx) => {
        if (event.revision === 3 && fails-- > 0) throw new Error('not yet');
        ctx.afterCommit(() => void seen.push(`${event.id}${event.revision}`));
      });
      await bus.start();
      bus.crashAfter(point, 2);
      for (let revision = 1; revision <= 8; revision++) {
        void bus.publishAll(['a', 'b'].map((id) => Priced.of({ id, price: 1, revision }, { id: `${id}${revision}` })));
        await bus.advance(1);
      }
      await bus.advance(30_000);
      for (const id of ['a', 'b']) {
        const mine = seen.filter((line) => line.startsWith(id)).map((line) => Number(line.slice(1)));
        assert.deepEqual(mine, mine.toSorted((x, y) => x - y));
        assert.equal(new Set(mine).size, mine.length);
      }
      assert.deepEqual(await bus.failures(), []);
    });

    it(`of the service that answers, at '${point}', gives the requester a reply or a timeout, never two`, async () => {
      await using orders = createTestBus({ service: 'orders' });
      let created = 0;
      orders.handle(CreateOrder, (_, ctx) => {
        ctx.afterCommit(() => void created++);
        return { orderId: 'o1' };
      });
      await orders.start();
      orders.crashAfter(point);
      void orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 60_000 });
      await orders.advance(90_000);
      assert.ok(created <= 1);
      assert.deepEqual(await orders.failures(), []);
    });
  }

  it('in a handler, each time it runs, parks the message as HANDLER_CRASHED and takes no innocent along', async () => {
    await using bus = createTestBus({ service: 'desk' });
    const seen: string[] = [];
    let crashes = 0;
    bus.subscribe(Noted, async (event, ctx) => {
      if (event.text === 'poison') {
        crashes++;
        bus.crash();
        await new Promise(() => {});
      }
      ctx.afterCommit(() => void seen.push(event.text));
    });
    await bus.publishAll(['a', 'poison', 'b', 'c'].map((text) => Noted.of({ text })));
    for (let i = 0; i < 10; i++) await bus.advance(2_000);
    assert.deepEqual(seen.toSorted(), ['a', 'b', 'c']);
    assert.deepEqual((await bus.failures()).map(({ error, message }) => [error.code, Buffer.from(message.body).toString()]), [
      ['HANDLER_CRASHED', '{"text":"poison"}'],
    ]);
    assert.ok(crashes <= 5, `${crashes} crashes`);
  });

  it('leaves a suspect that runs alone until its verdict is stored, also while the store is away', async () => {
    const told: string[] = [];
    const times = 12; // long enough for the relay to have sent the other one
    let away = times;
    const kept = memory();
    const store = {
      ...kept,
      async open(host: Parameters<typeof kept.open>[0]) {
        const session = await kept.open(host);
        return {
          ...session,
          transaction: <R>(work: (tx: any) => MaybePromise<R>) =>
            session.transaction(async (tx) => {
              const before = told.length;
              const result = await work(tx);
              if (told.slice(before).includes('innocent runs') && away-- > 0) throw new WaybillError('STORE_UNREACHABLE', 'away, before it committed');
              return result;
            }),
        };
      },
    };
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { name: 'notes' }, async (event) => {
      told.push(`${event.text} runs`);
      if (told.length > 2) return; // with the second it is suspect
      bus.crash();
      await new Promise(() => {});
    });
    bus.subscribe(Seen, { name: 'beside' }, ({ what }) => void told.push(`${what} runs`));
    bus.on('applied', ({ subscription }) => told.push(`${subscription} is applied`));
    await bus.publish(Noted, { text: 'innocent' });
    for (let i = 0; i < 5_000 && !told.includes('innocent runs', 2); i++) await bus.advance(10);
    await bus.publish(Seen, { what: 'another' });
    for (let i = 0; i < 120 && !told.includes('desk.beside is applied'); i++) await bus.advance(1_000);
    const since = told.slice(2);
    assert.deepEqual(since, [...Array.from({ length: times + 1 }, () => 'innocent runs'), 'desk.notes is applied', 'another runs', 'desk.beside is applied']);
  });

  it('leaves nothing of an open transaction, and the process lives again', async () => {
    await using bus = createTestBus({ service: 'desk' });
    await bus.transaction((tx) => tx.query('create table effect (what text)'));
    const opened = Promise.withResolvers<void>();
    void bus.transaction(async (tx) => {
      await tx.query("insert into effect values ('undone')");
      await bus.publish(Noted, { text: 'undone' }, { tx });
      opened.resolve();
      await new Promise(() => {});
    });
    await opened.promise;
    bus.crash();
    await bus.settled();
    assert.deepEqual(await rowsOf(bus, 'select * from effect'), []);
    assert.deepEqual(bus.messages(), []);
    await bus.publish(Noted, { text: 'after' });
    await bus.settled();
    assert.deepEqual(bus.published(Noted), [{ text: 'after' }]);
    assert.deepEqual(bus.history().map(({ signal }) => signal), ['crashed', 'published', 'sent']);
  });
});
