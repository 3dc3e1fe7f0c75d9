/** Idempotent requests, and transactions that run again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from 'waybill';
import { createTestBus } from 'waybill/testing';
import { Noted, Seen } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

const code = (expected: string) => (error: unknown) => WaybillError.is(error, expected as never) || assert.fail(`${String(error)}, not ${expected}`);

overStores('once', (store) => {
  it('runs the block once, and gives its result to every later caller', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    const ask = () => bus.once('create-order', 'ann:1', async (tx) => {
      runs++;
      await bus.publish(Noted, { text: 'created' }, { tx });
      return { orderId: `o${runs}` };
    });
    assert.deepEqual(await ask(), { result: { orderId: 'o1' }, duplicate: false });
    assert.deepEqual(await ask(), { result: { orderId: 'o1' }, duplicate: true });
    await bus.settled();
    assert.equal(bus.published(Noted).length, 1);
  });

  it('lets those that come at once wait for the first', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    const all = await Promise.all(
      Array.from({ length: 20 }, () =>
        bus.once('create-order', 'ann:1', async (tx) => {
          runs++;
          await new Promise((resolve) => void setImmediate(resolve));
          await bus.publish(Noted, { text: 'created' }, { tx });
          return runs;
        }),
      ),
    );
    assert.equal(runs, 1);
    assert.deepEqual(all.map(({ result }) => result), Array(20).fill(1));
    assert.equal(all.filter(({ duplicate }) => !duplicate).length, 1);
    await bus.settled();
    assert.equal(bus.published(Noted).length, 1);
  });

  it('stores nothing when the block throws: the next one runs', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await assert.rejects(
      bus.once('s', 'k', async (tx) => {
        await bus.publish(Noted, { text: 'undone' }, { tx });
        throw new Error('no');
      }),
      /no/,
    );
    assert.deepEqual(await bus.once('s', 'k', async () => 'second'), { result: 'second', duplicate: false });
    await bus.settled();
    assert.deepEqual(bus.published(Noted), []);
  });

  it('tells scopes and keys apart, also those that look joined', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const all = [];
    for (const [scope, key] of [['a', 'b'], ['a', 'c'], ['b', 'a'], ['a:b', 'c'], ['a', 'b:c'], ['A', 'b'], ['a', 'b '], ['__proto__', 'constructor']]) {
      all.push((await bus.once(scope!, key!, async () => 1)).duplicate);
    }
    assert.deepEqual(all, Array(8).fill(false));
  });

  for (const [name, result] of [['undefined', undefined], ['null', null], ['zero', 0], ['an empty text', ''], ['a list', [1, 'two']], ['nothing but false', false]] as const) {
    it(`keeps ${name} as a result`, async () => {
      await using bus = createTestBus({ service: 'desk', store });
      const first = await bus.once('s', 'k', async () => result);
      const second = await bus.once('s', 'k', async () => assert.fail('ran twice') as never);
      assert.deepEqual([first, second], [{ result, duplicate: false }, { result, duplicate: true }]);
    });
  }

  it('gives the first caller what a duplicate gets: what JSON keeps', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const { result } = await bus.once<unknown>('s', 'k', async () => ({ at: new Date(0), gone: undefined }));
    assert.deepEqual(result, { at: '1970-01-01T00:00:00.000Z' });
  });

  it('refuses a result that is no JSON, and stores nothing', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await assert.rejects(bus.once('s', 'k', async () => 1n), code('CONTRACT_VIOLATION'));
    assert.equal((await bus.once('s', 'k', async () => 1)).duplicate, false);
  });

  it('refuses one key with two contents', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.once('s', 'k', async () => 1, { fingerprint: 'a' });
    assert.equal((await bus.once('s', 'k', async () => 2, { fingerprint: 'a' })).result, 1);
    await assert.rejects(bus.once('s', 'k', async () => 2, { fingerprint: 'b' }), code('ONCE_MISMATCH'));
  });

  it('forgets after retainMs', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.once('s', 'k', async () => 1, { retainMs: 30_000 });
    assert.equal((await bus.once('s', 'k', async () => 2)).result, 1);
    await bus.advance(120_000);
    assert.deepEqual(await bus.once('s', 'k', async () => 2), { result: 2, duplicate: false });
  });

  it('refuses scopes, keys, fingerprints, times and blocks that are none', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const block = async () => 1;
    for (const bad of ['', undefined, null, 7, {}, 'x'.repeat(501), '\ud800', 'a\0b'] as never[]) {
      await assert.rejects(bus.once(bad, 'k', block), code('INVALID_OPTION'));
      await assert.rejects(bus.once('s', bad, block), code('INVALID_OPTION'));
      if (bad !== undefined) await assert.rejects(bus.once('s', 'k', block, { fingerprint: bad }), code('INVALID_OPTION'));
    }
    for (const retainMs of [-1, Number.NaN, Infinity, '5'] as never[]) await assert.rejects(bus.once('s', 'k', block, { retainMs }), code('INVALID_OPTION'));
    for (const attempts of [0, -1, 1.5, Number.NaN, '5'] as never[]) await assert.rejects(bus.once('s', 'k', block, { attempts }), code('INVALID_OPTION'));
    await assert.rejects(bus.once('s', 'k', 'no function' as never), code('INVALID_OPTION'));
    assert.equal((await bus.once('s', 'k', block)).duplicate, false);
  });

  it('survives a crash before its commit by running again, after it by the kept result', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    const ask = () => bus.once('s', 'k', async (tx) => {
      runs++;
      await bus.publish(Noted, { text: `run ${runs}` }, { tx });
      return runs;
    });
    await bus.start();
    bus.crashAfter('before once.commit');
    void ask();
    await bus.settled();
    assert.deepEqual(bus.published(Noted), []);
    bus.crashAfter('once.commit');
    void ask();
    await bus.settled();
    assert.deepEqual(bus.published(Noted), [{ text: 'run 2' }]);
    assert.deepEqual(await ask(), { result: 2, duplicate: true });
  });
});

overStores('a transaction', (store) => {
  it('answers with what its block answered', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    assert.equal(await bus.transaction(async () => 7), 7);
  });

  it('runs twice under `rerun`, so that what escapes shows', async () => {
    await using bus = createTestBus({ service: 'desk', store, rerun: true });
    let escaped = 0;
    await bus.transaction(async (tx) => {
      escaped++;
      await bus.publish(Noted, { text: 'a' }, { tx });
    });
    await bus.settled();
    assert.equal(escaped, 2);
    assert.equal(bus.published(Noted).length, 1);
  });

  it('refuses attempts that are no whole number from 1 on, and what is no function', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    for (const attempts of [0, -1, 1.5, Number.NaN, '5'] as never[]) await assert.rejects(bus.transaction(async () => {}, { attempts }), code('INVALID_OPTION'));
    await assert.rejects(bus.transaction(undefined as never), code('INVALID_OPTION'));
  });

  it('refuses another one inside, and a once', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.transaction(async () => {
      await assert.rejects(bus.transaction(async () => {}), code('NESTED_TRANSACTION'));
      await assert.rejects(bus.once('s', 'k', async () => {}), code('NESTED_TRANSACTION'));
    });
    await bus.once('s', 'k', async () => {
      await assert.rejects(bus.transaction(async () => {}), code('NESTED_TRANSACTION'));
      await assert.rejects(bus.once('s', 'other', async () => {}), code('NESTED_TRANSACTION'));
    });
  });

  it('is over when its block is: its tx takes nothing any more', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let kept: any;
    await bus.transaction(async (tx) => {
      kept = tx;
    });
    await assert.rejects(bus.publish(Noted, { text: 'a' }, { tx: kept }), code('NOT_A_TRANSACTION'));
    assert.deepEqual(bus.messages(), []);
  });

  it('is not around what its block left running in the background', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let later: Promise<unknown> | undefined;
    await bus.transaction(async () => {
      later = (async () => {
        await new Promise((resolve) => void setTimeout(resolve, 5));
        return bus.publish(Seen, { what: 'later' });
      })();
    });
    await later;
    await bus.settled();
    assert.deepEqual(bus.published(Seen), [{ what: 'later' }]);
  });

  it('of one bus is none of another', async () => {
    await using one = createTestBus({ service: 'desk', store });
    await using two = createTestBus({ service: 'other', store });
    await one.transaction(async (tx) => {
      await assert.rejects(two.publish(Noted, { text: 'a' }, { tx }), code('NOT_A_TRANSACTION'));
      await two.transaction(async () => {}); // and a block of the one is no block of the other
    });
    assert.deepEqual(two.messages(), []);
  });
});

describe('a transaction block that the store asks to run again', () => {
  it('is run again, whole, until it holds, at most `attempts` times', async () => {
    const bus = createTestBus({ service: 'desk' });
    let runs = 0;
    const busy = () => new WaybillError('STORE_BUSY', 'locked');
    const done = bus.transaction(async (tx) => {
      runs++;
      await bus.publish(Noted, { text: `run ${runs}` }, { tx });
      if (runs < 3) throw busy();
      return runs;
    });
    await bus.advance(1_000);
    assert.equal(await done, 3);
    await bus.settled();
    assert.deepEqual(bus.published(Noted), [{ text: 'run 3' }]);
    runs = 0;
    const never = assert.rejects(
      bus.transaction(
        async () => {
          runs++;
          throw busy();
        },
        { attempts: 2 },
      ),
      code('STORE_BUSY'),
    );
    await bus.advance(10_000);
    await never;
    assert.equal(runs, 2);
    await bus.stop();
  });
});
