/** What happens to a message whose handler throws. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Reject, RetryLater } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus, type TestBus } from 'waybill/testing';
import { Noted, Priced, Seen } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

const signalsOf = (bus: TestBus<any>): string[] => bus.history().map(({ signal }) => signal);
const texts = async (bus: TestBus<any>): Promise<string[]> => (await bus.failures()).map(({ message }) => Buffer.from(message.body).toString());

overStores('a handler that throws', (store) => {
  it('runs again at once, then later, 11 times in all by default, then the message is parked', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const runs: [attempt: number, atMs: number][] = [];
    bus.subscribe(Noted, (_, ctx) => {
      runs.push([ctx.attempt, bus.clock.monotonic()]);
      throw new Error('the printer is on fire');
    });
    const { id } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(runs.map(([attempt]) => attempt), [1, 2, 3]);
    assert.equal((await operations(bus).waiting.list())[0]!.attempt, 3);
    await bus.advance(3_600_000);
    assert.deepEqual(runs.map(([attempt]) => attempt), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    const [failure] = await bus.failures();
    assert.equal(failure!.message.id, id);
    assert.equal(failure!.attempts, 11);
    assert.equal(failure!.error.code, 'HANDLER_FAILED');
    assert.equal(failure!.error.message, 'the printer is on fire');
    assert.match(failure!.error.stack!, /retries\.test\.ts/);
    assert.deepEqual(await texts(bus), ['{"text":"a"}']);
    assert.equal((await operations(bus).waiting.list()).length, 0);
    assert.deepEqual(signalsOf(bus).filter((signal) => signal === 'retrying' || signal === 'failed'), [...Array<string>(8).fill('retrying'), 'failed']);
  });

  it('waits at least twice as long each time, up to the limit, jittered by half', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const at: number[] = [];
    bus.subscribe(Noted, { retry: { immediate: 0, delayed: 5, delayMs: 100, delayMaxMs: 400 } }, () => {
      at.push(bus.clock.monotonic());
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(60_000);
    const pauses = at.slice(1).map((ms, i) => ms - at[i]!);
    for (const [i, leastMs] of [100, 200, 400, 400, 400].entries()) {
      assert.ok(pauses[i]! >= leastMs && pauses[i]! <= leastMs * 1.5 + 2, `pause ${i}: ${pauses[i]}`);
    }
  });

  it('is not retried with retry: false', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribe(Noted, { retry: false }, () => {
      runs++;
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(60_000);
    assert.equal(runs, 1);
    assert.equal((await bus.failures()).length, 1);
  });

  it('is not retried after Reject, whose code is kept', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribe(Noted, (event) => {
      runs++;
      throw new Reject('never', event.text === 'coded' ? { code: 'OUT_OF_STOCK' } : {});
    });
    await bus.publishAll([Noted.of({ text: 'coded' }), Noted.of({ text: 'plain' })]);
    await bus.advance(60_000);
    assert.equal(runs, 2);
    assert.deepEqual((await bus.failures()).map(({ error }) => error.code), ['OUT_OF_STOCK', 'REJECTED']);
  });

  it('runs again when RetryLater said, not before', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const at: number[] = [];
    bus.subscribe(Noted, () => {
      at.push(bus.clock.monotonic());
      if (at.length < 3) throw new RetryLater(30_000);
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(at.length, 1, 'no immediate run');
    await bus.advance(29_000);
    assert.equal(at.length, 1);
    await bus.advance(120_000);
    assert.equal(at.length, 3);
    assert.ok(at[1]! - at[0]! >= 30_000 && at[2]! - at[1]! >= 30_000);
  });

  it('is given up although it always says RetryLater', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribe(Noted, { retry: { immediate: 0, delayed: 2 } }, () => {
      runs++;
      throw new RetryLater(1_000);
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(60_000);
    assert.equal(runs, 3);
    assert.equal((await bus.failures()).length, 1);
  });

  for (const [what, thrown] of [
    ['undefined', undefined],
    ['null', null],
    ['a string', 'just text'],
    ['a number', 7],
    ['an object without message', { strange: true }],
    ['an object whose message is no text', { message: { deep: true } }],
    ['an object that throws when it is printed', { toString: () => { throw new Error('haha'); } }],
    ['an object without prototype', Object.create(null)],
    ['a symbol', Symbol('odd')],
    ['an error with an endless cause', (() => { const e = new Error('loop'); e.cause = e; return e; })()],
  ] as const) {
    it(`is parked, with a code and a text, when it throws ${what}`, async () => {
      await using bus = createTestBus({ service: 'desk', store });
      // eslint-disable-next-line typescript/prefer-promise-reject-errors -- what the test is about
      bus.subscribe(Noted, { retry: { immediate: 1, delayed: 1, delayMs: 10 } }, () => Promise.reject(thrown));
      await bus.publish(Noted, { text: 'a' });
      await bus.advance(10_000);
      const [failure] = await bus.failures();
      assert.equal(failure!.error.code, 'HANDLER_FAILED');
      assert.equal(typeof failure!.error.message, 'string');
      assert.notEqual(failure!.error.message, '');
      assert.doesNotMatch(failure!.error.message, /Cannot|is not a function/, 'trouble of our own');
      assert.equal(failure!.attempts, 3);
      assert.deepEqual(await texts(bus), ['{"text":"a"}']);
    });
  }
});

overStores('onFailed', (store) => {
  it('runs in the transaction that parks, and may publish', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const errors: unknown[] = [];
    bus.subscribe(
      Noted,
      {
        retry: false,
        onFailed: async (event, ctx, error) => {
          errors.push((error as Error).message);
          await ctx.publish(Seen, { what: `gave up ${event.text}` });
        },
      },
      () => {
        throw new Error('no');
      },
    );
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(errors, ['no']);
    assert.deepEqual(bus.published(Seen), [{ what: 'gave up a' }]);
    assert.equal((await bus.failures()).length, 1);
  });

  it('that throws leaves nothing of its own, and the message is parked all the same', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(
      Noted,
      {
        retry: false,
        onFailed: async (event, ctx) => {
          await ctx.publish(Seen, { what: event.text });
          throw new Error('even this');
        },
      },
      () => {
        throw new Error('no');
      },
    );
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(bus.published(Seen), []);
    assert.deepEqual((await bus.failures()).map(({ error }) => error.message), ['no']);
    assert.ok(signalsOf(bus).includes('trouble'));
  });
});

overStores('a parked message', (store) => {
  it('runs again from the first attempt when it is retried, under the same id', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    const runs: [string, number, boolean][] = [];
    bus.subscribe(Noted, { retry: false }, (_, ctx) => {
      runs.push([ctx.message.id, ctx.attempt, ctx.redelivered]);
      if (broken) throw new Error('no');
    });
    const { id } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    broken = false;
    assert.equal(await operations(bus).failures.retry({ code: 'HANDLER_FAILED' }), 1);
    await bus.settled();
    assert.deepEqual(runs, [[id, 1, false], [id, 1, true]]);
    assert.deepEqual(await bus.failures(), []);
    await bus.redeliver(id);
    assert.equal(runs.length, 2);
  });

  it('comes back when it fails again, once', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { retry: false }, () => {
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    for (let i = 0; i < 3; i++) {
      await operations(bus).failures.retry({});
      await bus.settled();
    }
    assert.equal((await bus.failures()).length, 1);
  });

  it('is gone when it is deleted', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { retry: false }, () => {
      throw new Error('no');
    });
    await bus.publishAll(['a', 'b', 'c'].map((text) => Noted.of({ text })));
    await bus.settled();
    const [first] = await operations(bus).failures.list();
    assert.equal(await operations(bus).failures.delete({ rows: [first!.row] }), 1);
    assert.equal(await operations(bus).failures.delete({ rows: [first!.row] }), 0);
    assert.equal((await bus.failures()).length, 2);
    assert.equal(await operations(bus).failures.delete({}), 2);
    assert.deepEqual(await bus.failures(), []);
  });

  it('is one of a group of the same type, code and text', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { retry: false }, (event) => {
      throw new Error(event.text === 'x' ? 'other' : 'same');
    });
    await bus.publishAll(['a', 'b', 'x'].map((text) => Noted.of({ text })));
    await bus.settled();
    const groups = await operations(bus).failures.groups();
    assert.deepEqual(groups.map(({ message, count }) => `${message} ${count}`).toSorted(), ['other 1', 'same 2']);
    const group = groups.find(({ count }) => count === 2)!.group;
    assert.equal((await operations(bus).failures.list({ group })).length, 2);
  });
});

overStores("order 'by-key'", (store) => {
  const price = (id: string, revision: number) => Priced.of({ id, price: revision, revision });

  it('keeps the order of a key while an older message waits; other keys go on', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: string[] = [];
    let broken = true;
    bus.subscribe(Priced, { order: 'by-key' }, (event) => {
      if (event.id === 'a' && event.revision === 1 && broken) throw new Error('not yet');
      seen.push(`${event.id}${event.revision}`);
    });
    await bus.publishAll([price('a', 1), price('a', 2), price('b', 1), price('a', 3), price('b', 2)]);
    await bus.settled();
    assert.deepEqual(seen, ['b1', 'b2']);
    await bus.publishAll([price('a', 4), price('b', 3)]);
    await bus.settled();
    assert.deepEqual(seen, ['b1', 'b2', 'b3']);
    broken = false;
    await bus.advance(10_000);
    assert.deepEqual(seen, ['b1', 'b2', 'b3', 'a1', 'a2', 'a3', 'a4']);
  });

  it('lets successors pass, in order, once a message has failed for good', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: string[] = [];
    bus.subscribe(Priced, { order: 'by-key', retry: { immediate: 0, delayed: 1 } }, (event) => {
      if (event.revision === 1) throw new Error('bad');
      seen.push(`${event.id}${event.revision}`);
    });
    await bus.publishAll([price('a', 1), price('a', 2), price('a', 3)]);
    await bus.advance(60_000);
    assert.deepEqual(seen, ['a2', 'a3']);
    assert.equal((await bus.failures()).length, 1);
  });

  it("holds the key with afterFailure: 'hold' until the failure is retried, then goes on in order", async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: string[] = [];
    let broken = true;
    bus.subscribe(Priced, { order: 'by-key', retry: false, afterFailure: 'hold' }, (event) => {
      if (event.id === 'a' && event.revision === 1 && broken) throw new Error('bad');
      seen.push(`${event.id}${event.revision}`);
    });
    await bus.publishAll([price('a', 1), price('a', 2), price('b', 1), price('a', 3)]);
    await bus.advance(600_000);
    assert.deepEqual(seen, ['b1']);
    broken = false;
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.deepEqual(seen, ['b1', 'a1', 'a2', 'a3']);
  });

  it('goes on, in order, when the failure that held the key is deleted', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: string[] = [];
    bus.subscribe(Priced, { order: 'by-key', retry: false, afterFailure: 'hold' }, (event) => {
      if (event.revision === 1) throw new Error('bad');
      seen.push(`${event.id}${event.revision}`);
    });
    await bus.publishAll([price('a', 1), price('a', 2), price('a', 3)]);
    await bus.settled();
    assert.deepEqual(seen, []);
    await operations(bus).failures.delete({});
    await bus.settled();
    assert.deepEqual(seen, ['a2', 'a3']);
  });

  it('holds again when the retried message fails again', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: string[] = [];
    bus.subscribe(Priced, { order: 'by-key', retry: false, afterFailure: 'hold' }, (event) => {
      if (event.revision === 1) throw new Error('bad');
      seen.push(`${event.id}${event.revision}`);
    });
    await bus.publishAll([price('a', 1), price('a', 2)]);
    await bus.settled();
    await operations(bus).failures.retry({});
    await bus.advance(60_000);
    assert.deepEqual(seen, []);
    assert.equal((await bus.failures()).length, 1);
    await operations(bus).failures.delete({});
    await bus.settled();
    assert.deepEqual(seen, ['a2']);
  });

  for (const transaction of ['own', 'manual'] as const) {
    it(`keeps the order of a key in mode '${transaction}', retries included`, async () => {
      await using bus = createTestBus({ service: 'view', store });
      const seen: string[] = [];
      let broken = true;
      bus.subscribe(Priced, { order: 'by-key', transaction, concurrency: 4 }, async (event) => {
        await new Promise((resolve) => void setImmediate(resolve));
        if (event.id === 'a' && event.revision === 1 && broken) throw new Error('not yet');
        seen.push(`${event.id}${event.revision}`);
      });
      await bus.publishAll([1, 2, 3, 4].flatMap((revision) => [price('a', revision), price('b', revision)]));
      await bus.settled();
      assert.deepEqual(seen, ['b1', 'b2', 'b3', 'b4']);
      broken = false;
      await bus.advance(10_000);
      assert.deepEqual(seen.slice(4), ['a1', 'a2', 'a3', 'a4']);
    });
  }
});

overStores("order 'latest'", (store) => {
  const price = (id: string, revision: number) => Priced.of({ id, price: revision, revision });

  for (const transaction of ['shared', 'own', 'manual'] as const) {
    it(`skips what is not newer than the last one applied, in mode '${transaction}'`, async () => {
      await using bus = createTestBus({ service: 'view', store });
      const seen: string[] = [];
      bus.subscribe(Priced, { order: 'latest', transaction }, (event) => void seen.push(`${event.id}${event.revision}`));
      await bus.publishAll([price('a', 2), price('a', 1), price('b', 1), price('a', 2), price('a', 5), price('a', 4)]);
      await bus.settled();
      assert.deepEqual(seen.toSorted(), ['a2', 'a5', 'b1']);
      assert.ok(seen.indexOf('a2') < seen.indexOf('a5'));
      assert.equal(bus.history().filter(({ signal }) => signal === 'stale').length, 3);
    });
  }

  it('does not raise the watermark for a run that threw', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: number[] = [];
    let broken = true;
    bus.subscribe(Priced, { order: 'latest' }, (event) => {
      if (broken) throw new Error('no');
      seen.push(event.revision);
    });
    await bus.publish(Priced, { id: 'a', price: 1, revision: 5 });
    await bus.settled();
    broken = false;
    await bus.publish(Priced, { id: 'a', price: 1, revision: 4 });
    await bus.advance(10_000);
    assert.deepEqual(seen, [4, 5]);
  });

  it('skips an old one that waited while a newer one was applied', async () => {
    await using bus = createTestBus({ service: 'view', store });
    const seen: number[] = [];
    let broken = true;
    bus.subscribe(Priced, { order: 'latest' }, (event) => {
      if (event.revision === 1 && broken) throw new Error('no');
      seen.push(event.revision);
    });
    await bus.publish(Priced, { id: 'a', price: 1, revision: 1 });
    await bus.settled();
    await bus.publish(Priced, { id: 'a', price: 1, revision: 2 });
    broken = false;
    await bus.advance(10_000);
    assert.deepEqual(seen, [2]);
    assert.equal(bus.history().filter(({ signal }) => signal === 'stale').length, 1);
  });
});
