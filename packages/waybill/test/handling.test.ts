/** Deliveries → effects: transaction modes, neighbours, sets, several events to one queue. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type HandlerContext, type ManualContext, WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus, type TestBus } from 'waybill/testing';
import { Noted, Priced, Renamed, Seen } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

/** A desk with a table `effect`, into which handlers write what they did. */
async function desk(options: Parameters<typeof createTestBus>[0] = {}): Promise<TestBus<any>> {
  const bus = createTestBus({ service: 'desk', ...options });
  return bus;
}
const withTable = async (bus: TestBus<any>): Promise<void> => {
  await bus.transaction(async (tx) => {
    await tx.query('create table effect (what text, n integer)');
  });
};
const effects = async (bus: TestBus<any>): Promise<string[]> => {
  const { rows } = await bus.transaction<{ rows: { what: string }[] }>((tx) => tx.query('select what from effect order by rowid'));
  return rows.map((row) => row.what);
};
const write = (ctx: { tx: any }, what: string): Promise<unknown> => ctx.tx.query('insert into effect (what) values ($1)', [what]);

for (const transaction of ['shared', 'own'] as const) {
  describe(`a handler with transaction '${transaction}'`, () => {
    it('commits its writes and what it publishes together', async () => {
      await using bus = await desk();
      bus.subscribe(Noted, { transaction }, async (event, ctx: HandlerContext<any>) => {
        await write(ctx, event.text);
        await ctx.publish(Seen, { what: event.text });
      });
      await withTable(bus);
      await bus.publish(Noted, { text: 'a' });
      await bus.settled();
      assert.deepEqual(await effects(bus), ['a']);
      assert.deepEqual(bus.published(Seen), [{ what: 'a' }]);
    });

    it('leaves nothing of a run that threw: no write, no message', async () => {
      await using bus = await desk();
      bus.subscribe(Noted, { transaction, retry: { immediate: 1, delayed: 0 } }, async (event, ctx: HandlerContext<any>) => {
        await write(ctx, `${event.text}${ctx.attempt}`);
        await ctx.publish(Seen, { what: `${event.text}${ctx.attempt}` });
        if (ctx.attempt === 1) throw new Error('not yet');
      });
      await withTable(bus);
      await bus.publish(Noted, { text: 'a' });
      await bus.settled();
      assert.deepEqual(await effects(bus), ['a2']);
      assert.deepEqual(bus.published(Seen), [{ what: 'a2' }]);
    });

    it('has its effect once when the message is delivered again', async () => {
      await using bus = await desk();
      bus.subscribe(Noted, { transaction }, (event, ctx: HandlerContext<any>) => void write(ctx, event.text));
      bus.subscribe(Noted, { transaction, name: 'second' }, async (event, ctx: HandlerContext<any>) => void (await write(ctx, `2${event.text}`)));
      await withTable(bus);
      const { id } = await bus.publish(Noted, { text: 'a' });
      await bus.settled();
      await bus.redeliver(id);
      await bus.redeliver(id);
      assert.deepEqual((await effects(bus)).toSorted(), ['2a', 'a']);
      assert.equal(bus.history().filter(({ signal }) => signal === 'duplicate').length, 4);
    });

    it('runs twice per message under `rerun`, and has its effect once', async () => {
      await using bus = await desk({ rerun: true });
      let runs = 0;
      bus.subscribe(Noted, { transaction }, async (event, ctx: HandlerContext<any>) => {
        runs++;
        await write(ctx, event.text);
        await ctx.publish(Seen, { what: event.text });
      });
      await withTable(bus).catch(() => {});
      await bus.publish(Noted, { text: 'a' });
      await bus.settled();
      assert.equal(runs, 2);
      assert.deepEqual(await effects(bus), ['a']);
      assert.deepEqual(bus.published(Seen), [{ what: 'a' }]);
      const { id } = await bus.publish(Noted, { text: 'b' });
      await bus.settled();
      await bus.redeliver(id);
      assert.deepEqual(await effects(bus), ['a', 'b']);
    });
  });
}

overStores('the context of a handler', (store) => {
  it('may take its context apart', async () => {
    await using bus = await desk();
    let after = 0;
    bus.subscribe(Noted, async ({ text }, { tx, publish, publishAll, afterCommit }: HandlerContext<any>) => {
      await write({ tx }, text);
      await publish(Seen, { what: text });
      await publishAll([Seen.of({ what: `${text}2` })]);
      afterCommit(() => void after++);
    });
    bus.subscribe(Noted, { name: 'by-hand', transaction: 'manual' }, async ({ text }, { transaction, publish }: ManualContext<any>) => {
      await transaction(async () => void (await publish(Seen, { what: `${text}3` })));
    });
    await withTable(bus);
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(await effects(bus), ['a']);
    assert.deepEqual([bus.published(Seen).map(({ what }) => what).toSorted(), after], [['a', 'a2', 'a3'], 1]);
  });

  it('tells of the message: id, type, source, time, key, sequence, correlation, headers', async () => {
    await using bus = createTestBus({ service: 'catalog', store });
    let seen: HandlerContext | undefined;
    bus.subscribe(Priced, (_, ctx) => {
      seen = ctx;
    });
    const { id } = await bus.publish(Priced, { id: 'p1', price: 9.5, revision: 7 }, { headers: { tenant: 'acme' } });
    await bus.settled();
    const { message, attempt, redelivered } = seen!;
    assert.deepEqual(
      { ...message, headers: { ...message.headers } },
      {
        kind: 'event',
        id,
        type: 'catalog.priced.v1',
        source: 'catalog',
        time: new Date(bus.clock.now()),
        key: 'p1',
        sequence: 7n,
        correlationId: id,
        headers: { tenant: 'acme' },
      },
    );
    assert.equal(attempt, 1);
    assert.equal(redelivered, false);
  });

  it('gives one idempotency key over all runs, and another to another subscription or message', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const keys: string[] = [];
    bus.subscribe(Noted, (_, ctx) => {
      keys.push(ctx.idempotencyKey);
      if (ctx.attempt < 5) throw new Error('again');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(60_000);
    assert.equal(keys.length, 5);
    assert.equal(new Set(keys).size, 1);
    bus.subscribe(Noted, { name: 'other' }, (_, ctx) => void keys.push(ctx.idempotencyKey));
    await bus.publish(Noted, { text: 'b' });
    await bus.advance(60_000);
    assert.equal(new Set(keys).size, 3);
  });

  it('links what it publishes to its cause and to the conversation', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const messages: HandlerContext['message'][] = [];
    bus.subscribe(Noted, (event, ctx) => void ctx.publish(Seen, { what: event.text }));
    bus.subscribe(Seen, (_, ctx) => void messages.push(ctx.message));
    const { id } = await bus.publish(Noted, { text: 'a' }, { correlationId: 'conversation' });
    await bus.settled();
    assert.deepEqual(messages.map(({ causationId, correlationId }) => [causationId, correlationId]), [[id, 'conversation']]);
  });

  it('runs afterCommit functions after the commit, and never for a run that was undone', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const order: string[] = [];
    bus.on('applied', () => order.push('applied'));
    bus.subscribe(Noted, (_, ctx) => {
      ctx.afterCommit(() => void order.push(`after run ${ctx.attempt}`));
      if (ctx.attempt < 3) throw new Error('again');
      order.push('handled');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(order, ['handled', 'after run 3', 'applied']);
  });

  it('harms nobody when an afterCommit function throws or rejects', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, (_, ctx) => {
      ctx.afterCommit(() => {
        throw new Error('sync');
      });
      ctx.afterCommit(() => Promise.reject(new Error('async')));
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    const signals = bus.history().map(({ signal }) => signal);
    assert.equal(signals.filter((signal) => signal === 'trouble').length, 2);
    assert.equal(signals.filter((signal) => signal === 'applied').length, 1);
  });

  it('is closed once the handler is over', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let kept: HandlerContext | undefined;
    bus.subscribe(Noted, (_, ctx) => {
      kept = ctx;
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    await assert.rejects(kept!.publish(Seen, { what: 'late' }), (error) => WaybillError.is(error, 'NOT_A_TRANSACTION'));
    assert.throws(() => kept!.afterCommit(() => {}), (error) => WaybillError.is(error, 'NOT_A_TRANSACTION'));
    assert.deepEqual(bus.published(Seen), []);
  });
});

describe("a handler with transaction 'manual'", () => {
  it('holds no transaction while it calls the outside, and commits all at once', async () => {
    await using bus = await desk();
    let during: string[] | undefined;
    bus.subscribe(Noted, { transaction: 'manual' }, async (event, ctx: ManualContext<any>) => {
      assert.equal('tx' in ctx ? (ctx as any).tx : undefined, undefined);
      during = await new Promise((resolve) => void setImmediate(() => resolve(['outside'])));
      const result = await ctx.transaction(async (tx: any) => {
        await tx.query('insert into effect (what) values ($1)', [event.text]);
        await ctx.publish(Seen, { what: event.text });
        return 7;
      });
      assert.equal(result, 7);
    });
    await withTable(bus);
    const { id } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(during, ['outside']);
    assert.deepEqual(await effects(bus), ['a']);
    assert.deepEqual(bus.published(Seen), [{ what: 'a' }]);
    await bus.redeliver(id);
    assert.deepEqual(await effects(bus), ['a']);
  });

  it('is applied also when it asked for no transaction', async () => {
    await using bus = await desk();
    let runs = 0;
    bus.subscribe(Noted, { transaction: 'manual' }, () => void runs++);
    const { id } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    await bus.redeliver(id);
    assert.equal(runs, 1);
  });

  it('is refused a second transaction, and a publish outside of it', async () => {
    await using bus = await desk();
    const codes: unknown[] = [];
    bus.subscribe(Noted, { transaction: 'manual' }, async (_, ctx) => {
      await ctx.publish(Seen, { what: 'before' }).catch((error: WaybillError) => codes.push(error.code));
      await ctx.transaction(async () => {});
      await ctx.transaction(async () => {}).catch((error: WaybillError) => codes.push(error.code));
      await ctx.publish(Seen, { what: 'after' }).catch((error: WaybillError) => codes.push(error.code));
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(codes, ['TX_MISSING', 'NESTED_TRANSACTION', 'TX_MISSING']);
    assert.deepEqual(bus.published(Seen), []);
  });

  it('stays applied when it throws after its transaction', async () => {
    await using bus = await desk();
    let runs = 0;
    bus.subscribe(Noted, { transaction: 'manual' }, async (_, ctx) => {
      runs++;
      await ctx.transaction(async () => {});
      throw new Error('too late');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(60_000);
    assert.equal(runs, 1);
    assert.deepEqual(await bus.failures(), []);
    assert.ok(bus.history().some(({ signal }) => signal === 'trouble'));
  });

  it('is retried, and parked with its bytes, when it throws before', async () => {
    await using bus = await desk();
    let runs = 0;
    bus.subscribe(Noted, { transaction: 'manual', retry: { immediate: 1, delayed: 1 } }, () => {
      runs++;
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(60_000);
    assert.equal(runs, 3);
    const [failure] = await bus.failures();
    assert.equal(failure!.attempts, 3);
    assert.equal(Buffer.from(failure!.message.body).toString(), '{"text":"a"}');
  });

  it('undoes its transaction block when that throws, and may run again', async () => {
    await using bus = await desk();
    bus.subscribe(Noted, { transaction: 'manual', retry: { immediate: 1, delayed: 0 } }, async (event, ctx: ManualContext<any>) => {
      await ctx.transaction(async (tx: any) => {
        await tx.query('insert into effect (what) values ($1)', [`${event.text}${ctx.attempt}`]);
        await ctx.publish(Seen, { what: `${ctx.attempt}` });
        if (ctx.attempt === 1) throw new Error('no');
      });
    });
    await withTable(bus);
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(await effects(bus), ['a2']);
    assert.deepEqual(bus.published(Seen), [{ what: '2' }]);
  });
});

describe('neighbours in one transaction', () => {
  it('keep their effects when one of them throws', async () => {
    await using bus = await desk();
    bus.subscribe(Noted, { retry: false }, async (event, ctx: HandlerContext<any>) => {
      await write(ctx, event.text);
      if (event.text === 'bad') throw new Error('bad');
    });
    await withTable(bus);
    await bus.publishAll(['a', 'bad', 'b', 'c'].map((text) => Noted.of({ text })));
    await bus.settled();
    assert.deepEqual(await effects(bus), ['a', 'b', 'c']);
    assert.deepEqual((await bus.failures()).map(({ error }) => error.message), ['bad']);
  });

  it('keep their effects when the commit is refused, and only the culprit is charged', async () => {
    await using bus = await desk();
    bus.subscribe(Noted, { retry: false }, async (event, ctx: HandlerContext<any>) => {
      await ctx.tx.query('insert into child (what, parent) values ($1, $2)', [event.text, event.text === 'bad' ? 99 : 1]);
    });
    await bus.transaction(async (tx) => {
      await tx.query('create table parent (id integer primary key)');
      await tx.query('insert into parent values (1)');
      await tx.query('create table child (what text, parent integer references parent (id) deferrable initially deferred)');
    });
    await bus.publishAll(['a', 'bad', 'b'].map((text) => Noted.of({ text })));
    await bus.advance(10_000);
    const { rows } = await bus.transaction<{ rows: { what: string }[] }>((tx) => tx.query('select what from child order by what'));
    assert.deepEqual(rows.map((row) => row.what), ['a', 'b']);
    assert.equal((await bus.failures()).length, 1);
  });
});

overStores('a set-based subscription', (store) => {
  it('gets many events in one call, with one message for each', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const sets: string[][] = [];
    bus.subscribeBatch(Noted, { batch: 10, lingerMs: 5 }, (events, ctx) => {
      assert.equal(ctx.messages.length, events.length);
      sets.push(events.map((event) => event.text));
    });
    await bus.publishAll(Array.from({ length: 25 }, (_, i) => Noted.of({ text: String(i) })));
    await bus.settled();
    assert.deepEqual(sets.flat().map(Number), Array.from({ length: 25 }, (_, i) => i));
    assert.ok(sets.every((set) => set.length <= 10));
    assert.ok(sets.length <= 4, `${sets.length} sets`);
  });

  it('is halved until the bad one stands alone, which is charged alone', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const applied = new Set<string>();
    bus.subscribeBatch(Noted, { retry: { immediate: 0, delayed: 0 } }, async (events, ctx) => {
      if (events.some((event) => event.text === '5')) throw new Error('not with 5');
      await ctx.publish(Seen, { what: events.map((event) => event.text).join(',') });
      ctx.afterCommit(() => events.forEach((event) => applied.add(event.text)));
    });
    await bus.publishAll(Array.from({ length: 8 }, (_, i) => Noted.of({ text: String(i) })));
    await bus.settled();
    assert.deepEqual([...applied].toSorted(), ['0', '1', '2', '3', '4', '6', '7']);
    const failures = await bus.failures();
    assert.deepEqual(failures.map(({ message, attempts }) => [Buffer.from(message.body).toString(), attempts]), [['{"text":"5"}', 1]]);
    assert.equal(bus.published(Seen).flatMap(({ what }) => what.split(',')).length, 7);
  });

  it('retries the bad one later by itself', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    const applied: string[] = [];
    bus.subscribeBatch(Noted, {}, (events) => {
      if (broken && events.some((event) => event.text === 'b')) throw new Error('not now');
      applied.push(...events.map((event) => event.text));
    });
    await bus.publishAll(['a', 'b', 'c'].map((text) => Noted.of({ text })));
    await bus.settled();
    broken = false;
    await bus.advance(5_000);
    assert.deepEqual(applied.toSorted(), ['a', 'b', 'c']);
    assert.deepEqual(await bus.failures(), []);
  });
});

overStores('a subscription of several events', (store) => {
  it('gets them through one queue, in order of commit per key', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: string[] = [];
    bus
      .subscription('products', { order: 'by-key' })
      .on(Priced, (event) => void seen.push(`${event.id}=${event.price}`))
      .on(Renamed, (event) => void seen.push(`${event.id}:${event.name}`));
    for (let i = 0; i < 5; i++) {
      await bus.publish(Priced, { id: 'p', price: i, revision: i });
      await bus.publish(Renamed, { id: 'p', name: `n${i}` });
    }
    await bus.settled();
    assert.deepEqual(seen, Array.from({ length: 5 }, (_, i) => [`p=${i}`, `p:n${i}`]).flat());
  });

  it('takes two handlers for one event under two names, each with its own retries', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Noted, (_, ctx) => {
      seen.push(`first ${ctx.attempt}`);
      throw new Error('no');
    });
    bus.subscribe(Noted, { name: 'second' }, (_, ctx) => void seen.push(`second ${ctx.attempt}`));
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(3_600_000);
    assert.deepEqual(seen.filter((line) => line.startsWith('second')), ['second 1']);
    assert.equal(seen.filter((line) => line.startsWith('first')).length, 11);
    assert.deepEqual((await bus.failures()).map(({ subscription }) => subscription), ['desk.desk.noted']);
  });
});

describe('a shared handler that waits for something else', () => {
  it('gets a transaction of its own after three slow runs, with a signal', async () => {
    await using bus = createTestBus({ service: 'desk' });
    bus.subscribe(Noted, () => new Promise<void>((resolve) => void bus.clock.after(150, resolve)));
    const slow: unknown[] = [];
    bus.on('slow-handler', (detail) => slow.push(detail.subscription));
    for (let i = 0; i < 4; i++) {
      await bus.publish(Noted, { text: String(i) });
      await bus.advance(200);
    }
    await bus.settled();
    assert.deepEqual(slow, ['desk.desk.noted']);
    assert.equal(bus.history().filter(({ signal }) => signal === 'applied').length, 4);
  });

  it('shares again once it has been fast for long, and is not moved by a slow run now and then', async () => {
    await using bus = createTestBus({ service: 'desk' });
    const subscription = bus.subscribe(Noted, ({ text }) => (text === 'slow' ? new Promise<void>((resolve) => void bus.clock.after(150, resolve)) : undefined));
    const modes: string[] = [];
    const handle = async (texts: readonly string[]): Promise<void> => {
      await subscription.pause(); // a slow one holds the only connection, and this clock
      await bus.publishAll(texts.map((text) => Noted.of({ text })));
      await subscription.resume();
      for (let i = 0; i < 5; i++) await bus.advance(200);
      modes.push((await operations(bus).subscriptions.list())[0]!.transaction);
    };
    const fast = Array.from({ length: 150 }, () => 'fast');
    await handle(['slow', ...fast, 'slow', ...fast, 'slow', ...fast, 'slow']);
    await handle(['slow', 'slow', 'slow']);
    await handle([...fast, ...fast, 'fast', 'fast']);
    assert.deepEqual(modes, ['shared', 'own', 'shared']);
  });
});
