import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { WireMessage } from '../contract/message.ts';
import type { StoreSession } from '../contract/store.ts';
import type { LedgerAccess } from '../contract/transport.ts';
import { createSignals } from '../observe/signals.ts';
import { memory } from '../stores/memory/index.ts';
import { virtualClock } from '../testing/clock.ts';
import { createOutbox } from './outbox.ts';

const message = (id: string, more: Partial<WireMessage> = {}): WireMessage => ({
  kind: 'event', id, source: 'shop', type: 'shop.x.v1', recipient: undefined, key: undefined, time: 0, headers: {}, body: Buffer.from('{}'), ...more,
}); // prettier-ignore
const now = (id: string, more: Partial<WireMessage> = {}) => ({ messages: [message(id, more)], later: undefined });

async function room(ledger?: LedgerAccess) {
  const clock = virtualClock();
  const signals = createSignals();
  const host = { service: 'shop', clock, signals, logger: console, migrate: 'auto' as const };
  const store = await memory().open(host);
  let commits = 0;
  const counted: StoreSession = {
    ...store,
    transaction(work, options) {
      commits++;
      return store.transaction(work, options);
    },
  };
  const hints = { committed: 0, delayed: 0 };
  const outbox = createOutbox({
    store: counted,
    clock,
    signals,
    ledger: () => ledger,
    onCommitted: () => hints.committed++,
    onDelayed: () => hints.delayed++,
  });
  const ids = async (): Promise<string[]> => (await store.ports.inspect.outbox({})).map(({ id }) => id);
  return { clock, signals, store, outbox, hints, ids, commits: () => commits };
}

describe('the outbox', () => {
  it('commits the calls of one turn together, in order', async () => {
    const { outbox, ids, commits, hints } = await room();
    const calls = Array.from({ length: 50 }, (_, i) => outbox.appendOwn([now(`m${i}`)]));
    assert.equal(outbox.pending() > 0, true);
    await Promise.all(calls);
    assert.deepEqual(await ids(), Array.from({ length: 50 }, (_, i) => `m${i}`));
    assert.equal(commits(), 1);
    assert.ok(hints.committed >= 1);
    assert.equal(outbox.pending(), 0);
  });

  it('commits 500 at a time', async () => {
    const { outbox, commits } = await room();
    await Promise.all(Array.from({ length: 1_200 }, (_, i) => outbox.appendOwn([now(`m${i}`)])));
    assert.equal(commits(), 3);
  });

  it('fails every call of a commit that failed, and goes on with the next', async () => {
    const { outbox, store, ids } = await room();
    const { append } = store.ports.outbox;
    let broken = true;
    Object.assign(store.ports.outbox, {
      append: (...given: Parameters<typeof append>) => {
        if (broken) throw new Error('disk');
        return append(...given);
      },
    });
    const results = await Promise.allSettled([outbox.appendOwn([now('a')]), outbox.appendOwn([now('b')])]);
    assert.deepEqual(results.map(({ status }) => status), ['rejected', 'rejected']);
    broken = false;
    await outbox.appendOwn([now('c')]);
    assert.deepEqual(await ids(), ['c']);
    assert.equal(outbox.pending(), 0);
  });

  it('writes into the transaction that it is given, and hints after its commit alone', async () => {
    const { outbox, store, ids, hints } = await room();
    await assert.rejects(
      store.transaction(async (tx) => {
        await outbox.append(tx, [now('undone')]);
        throw new Error('undo');
      }),
    );
    assert.deepEqual([await ids(), hints.committed], [[], 0]);
    await store.transaction(async (tx) => {
      await outbox.append(tx, [now('kept')]);
      assert.equal(hints.committed, 0);
    });
    assert.deepEqual(await ids(), ['kept']);
    assert.equal(hints.committed, 1);
  });

  it('puts off what is not due, with every form of it', async () => {
    const { outbox, store, clock, ids, hints } = await room();
    await outbox.appendOwn([
      { messages: [message('later', { type: 'shop.x.v2' }), message('later')], later: { afterMs: 5_000 } },
      { messages: [message('at'), message('at the same')], later: { atMs: clock.now() + 5_000 } },
      { messages: [message('past')], later: { atMs: clock.now() } },
    ]);
    assert.deepEqual(await ids(), ['past']);
    const waiting = await store.ports.inspect.waiting({});
    assert.deepEqual(waiting.map((row) => [row.message.id, row.message.type, row.dueMs, row.reason]), [
      ['later', 'shop.x.v2', clock.now() + 5_000, 'delayed'],
      ['later', 'shop.x.v1', clock.now() + 5_000, 'delayed'],
      ['at', 'shop.x.v1', clock.now() + 5_000, 'delayed'],
      ['at the same', 'shop.x.v1', clock.now() + 5_000, 'delayed'],
    ]);
    assert.ok(hints.delayed >= 1);
  });

  it('parks a command that no queue takes where the commit is the publish, and drops a late reply', async () => {
    const { outbox, store, signals, ids } = await room({ routes: () => false, hint: () => {} });
    const heard: string[] = [];
    signals.on('unroutable', ({ id }) => heard.push(`unroutable ${id}`));
    signals.on('late-reply', ({ correlationId }) => heard.push(`late ${correlationId}`));
    await outbox.appendOwn([
      now('event'),
      now('command', { kind: 'command', recipient: 'nobody' }),
      now('reply', { kind: 'reply', type: 'waybill.reply.v1', headers: { 'ce-correlationid': 'talk' } }),
    ]);
    assert.deepEqual(await ids(), ['event']);
    assert.deepEqual((await store.ports.inspect.failures({})).map((row) => [row.message.id, row.error.code]), [['command', 'UNROUTABLE']]);
    assert.deepEqual(heard, ['unroutable command', 'late talk']);
  });
});
