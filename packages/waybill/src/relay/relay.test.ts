import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { WireMessage } from '../contract/message.ts';
import type { OutboxPort } from '../contract/store.ts';
import type { SendOutcome } from '../contract/transport.ts';
import { createSignals } from '../observe/signals.ts';
import { memory } from '../stores/memory/index.ts';
import { virtualClock } from '../testing/clock.ts';
import { createRelay } from './relay.ts';

const message = (id: string, more: Partial<WireMessage> = {}): WireMessage => ({
  kind: 'event', id, source: 'shop', type: 'shop.x.v1', recipient: undefined, key: undefined, time: 0, headers: {}, body: Buffer.from(id), ...more,
}); // prettier-ignore
const stored = (messages: readonly WireMessage[]): SendOutcome[] => messages.map(() => ({ kind: 'stored' }));

async function ledger() {
  const clock = virtualClock();
  const signals = createSignals();
  const disk = memory();
  const host = { service: 'shop', clock, signals, logger: console, migrate: 'auto' as const };
  const store = await disk.open(host);
  const append = (...messages: WireMessage[]) => store.transaction((tx) => store.ports.outbox.append(tx, messages));
  const heard: string[] = [];
  for (const name of ['sent', 'refused', 'unroutable'] as const) signals.on(name, ({ id }) => heard.push(`${name} ${id}`));
  signals.on('relay-paused', ({ error }) => heard.push(`paused: ${(error as Error).message}`));
  const relay = (send: (messages: readonly WireMessage[]) => Promise<readonly SendOutcome[]>, owner = 'one', more: { sendsMax?: number; outbox?: OutboxPort } = {}) =>
    createRelay({ outbox: store.ports.outbox, send, owner, clock, signals, ...more });
  return { clock, store, append, heard, relay };
}

describe('the relay', () => {
  it('sends what was committed, in order, 500 at a time, each once', async () => {
    const { clock, append, relay, store } = await ledger();
    const windows: string[][] = [];
    const one = relay(async (messages) => (windows.push(messages.map(({ id }) => id)), stored(messages)));
    await append(...Array.from({ length: 1_200 }, (_, i) => message(`m${i}`)));
    one.start();
    await clock.advance(1_000);
    assert.deepEqual(windows.map((window) => window.length), [500, 500, 200]);
    assert.deepEqual(windows.flat(), Array.from({ length: 1_200 }, (_, i) => `m${i}`));
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    await one.stop(0);
  });

  it('looks at once when it is woken, and within 250 ms when nobody tells it', async () => {
    const { clock, append, relay } = await ledger();
    const sent: [string, number][] = [];
    const one = relay(async (messages) => (messages.forEach(({ id }) => sent.push([id, clock.monotonic()])), stored(messages)));
    one.start();
    await clock.advance(1);
    await append(message('hinted'));
    one.wake();
    await clock.advance(0);
    await append(message('unheard'));
    await clock.advance(250);
    assert.deepEqual(sent[0], ['hinted', 1]);
    assert.ok(sent[1]![1] <= 251);
    await one.stop(0);
  });

  it('looks again soon after a hint that came before the commit', async () => {
    const { clock, append, relay } = await ledger();
    const sent: [string, number][] = [];
    const one = relay(async (messages) => (messages.forEach(({ id }) => sent.push([id, clock.monotonic()])), stored(messages)));
    one.start();
    await clock.advance(10_000); // by now it looks seldom
    const hintedMs = clock.monotonic();
    one.wake();
    await clock.advance(1);
    await append(message('late'));
    await clock.advance(250);
    assert.equal(sent.length, 1);
    assert.ok(sent[0]![1] - hintedMs <= 5, `${sent[0]![1] - hintedMs} ms after the hint`);
    await one.stop(0);
  });

  it('parks what is refused, and commands that nobody takes; an event that nobody takes is sent', async () => {
    const { clock, append, relay, store, heard } = await ledger();
    const one = relay(async (messages) =>
      messages.map(({ id }) => (id === 'refused' ? { kind: 'refused', reason: 'too big' } : id.startsWith('nobody') ? { kind: 'unroutable' } : { kind: 'stored' })),
    );
    await append(message('a'), message('refused'), message('nobody1'), message('nobody2', { kind: 'command', recipient: 'x' }), message('b'));
    one.start();
    await clock.advance(100);
    assert.deepEqual(heard, ['sent a', 'refused refused', 'sent nobody1', 'unroutable nobody2', 'sent b']);
    const failures = await store.ports.inspect.failures({});
    assert.deepEqual(failures.map((row) => [row.message.id, row.error.code, Buffer.from(row.message.body).toString()]), [
      ['refused', 'TRANSPORT_REFUSED', 'refused'],
      ['nobody2', 'UNROUTABLE', 'nobody2'],
    ]);
    assert.match(failures[0]!.error.message, /too big/);
    await one.stop(0);
  });

  it('sends the same again, in the same order, while the answer is trouble, and pauses longer each time', async () => {
    const { clock, append, relay, heard } = await ledger();
    const tries: [string, number][] = [];
    let broken = true;
    const one = relay(async (messages) => {
      tries.push([messages.map(({ id }) => id).join(), clock.monotonic()]);
      if (broken) throw new Error('away');
      return stored(messages);
    });
    await append(message('a'), message('b'));
    one.start();
    await clock.advance(10_000);
    broken = false;
    await clock.advance(60_000);
    assert.ok(tries.length > 4 && tries.length < 20, `${tries.length} tries`);
    assert.ok(tries.every(([ids]) => ids === 'a,b'));
    assert.deepEqual(heard.filter((line) => line.startsWith('sent')), ['sent a', 'sent b']);
    assert.ok(heard.includes('paused: away'));
    await one.stop(0);
  });

  it('counts nothing as sent when the transport answered for fewer than it was given', async () => {
    const { clock, append, relay, heard, store } = await ledger();
    let broken = true;
    const one = relay(async (messages) => stored(broken ? messages.slice(1) : messages));
    await append(message('a'), message('b'));
    one.start();
    await clock.advance(50);
    assert.deepEqual(heard.filter((line) => line.startsWith('sent')), []);
    assert.equal((await store.ports.inspect.counts()).ready, 2);
    broken = false;
    await clock.advance(60_000);
    assert.deepEqual(heard.filter((line) => line.startsWith('sent')), ['sent a', 'sent b']);
    await one.stop(0);
  });

  it('is one of several: the others stand by, and take over when it stops', async () => {
    const { clock, append, relay } = await ledger();
    const sent: string[] = [];
    const by = (name: string) => relay(async (messages) => (sent.push(...messages.map(({ id }) => `${name} ${id}`)), stored(messages)), name);
    const [one, two] = [by('one'), by('two')];
    one.start();
    await clock.advance(10);
    two.start();
    await append(message('a'));
    await clock.advance(2_000);
    const stopped = one.stop(1_000);
    await clock.advance(10);
    await stopped;
    await append(message('b'));
    await clock.advance(2_000);
    assert.deepEqual(sent, ['one a', 'two b']);
    const ended = two.stop(0);
    await clock.advance(10);
    await ended;
  });

  it('that was frozen settles nothing any more: its successor sends again under the same id', async () => {
    const { clock, append, relay, store } = await ledger();
    const gate = Promise.withResolvers<void>();
    const sent: string[] = [];
    // A process that is frozen renews nothing: what it asks of the store gets there when it goes on.
    const outbox: OutboxPort = {
      ...store.ports.outbox,
      async acquire(owner, leaseMs) {
        const lease = await store.ports.outbox.acquire(owner, leaseMs);
        return lease && { ...lease, renew: () => gate.promise.then(() => lease.renew()), settle: (...given) => gate.promise.then(() => lease.settle(...given)) };
      },
    };
    const frozen = relay(
      async (messages) => {
        sent.push('frozen');
        await gate.promise;
        return stored(messages);
      },
      'frozen',
      { outbox },
    );
    await append(message('a'));
    frozen.start();
    await clock.advance(10);
    const other = relay(async (messages) => (sent.push(...messages.map(({ id }) => `other ${id}`)), stored(messages)), 'other');
    other.start();
    await clock.advance(10_000);
    gate.resolve();
    await clock.advance(1_000);
    assert.equal(sent[0], 'frozen');
    assert.equal(sent[1], 'other a');
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    const ended = [frozen.stop(0), other.stop(0)];
    await clock.advance(10);
    await Promise.all(ended);
  });

  it('sends what was committed before it stops, and no longer than it is given', async () => {
    const { clock, append, relay } = await ledger();
    const sent: string[] = [];
    const one = relay(async (messages) => (sent.push(...messages.map(({ id }) => id)), stored(messages)));
    one.start();
    await clock.advance(10);
    await append(...Array.from({ length: 700 }, (_, i) => message(`m${i}`)));
    let done = false;
    const stopped = one.stop(1_000).then(() => (done = true));
    await clock.advance(0);
    await clock.advance(10);
    assert.equal(done, true);
    await stopped;
    assert.equal(sent.length, 700);
    const stuck = relay(() => Promise.reject(new Error('away')), 'stuck');
    stuck.start();
    await append(message('late'));
    await clock.advance(10);
    const began = clock.monotonic();
    const ended = stuck.stop(1_000);
    await clock.advance(40_000);
    await ended;
    assert.ok(clock.monotonic() - began <= 40_000);
  });

  it('has several windows in flight where the transport allows it, and settles their prefix alone', async () => {
    const { clock, append, relay, store, heard } = await ledger();
    const sends: { ids: string[]; answer: () => void }[] = [];
    const one = relay(
      (messages) => new Promise((resolve) => sends.push({ ids: messages.map(({ id }) => id), answer: () => resolve(stored(messages)) })),
      'one',
      { sendsMax: 3 },
    );
    await append(...Array.from({ length: 1_800 }, (_, i) => message(`m${i}`)));
    one.start();
    await clock.advance(10);
    assert.deepEqual(sends.map(({ ids }) => ids.length), [500, 500, 500], 'three and no more');
    sends[1]!.answer();
    await clock.advance(10);
    assert.equal((await store.ports.inspect.counts()).ready, 1_800, 'the first has no answer');
    sends[0]!.answer();
    await clock.advance(10);
    assert.equal((await store.ports.inspect.counts()).ready, 800, 'both, in one commit');
    assert.equal(sends.length, 4);
    sends[2]!.answer();
    sends[3]!.answer();
    await clock.advance(300);
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    assert.deepEqual(heard.filter((line) => line.startsWith('sent')), Array.from({ length: 1_800 }, (_, i) => `sent m${i}`));
    await one.stop(0);
  });

  it('sends everything from the settled position again when one of several windows has no answer', async () => {
    const { clock, append, relay, store } = await ledger();
    const sent: string[][] = [];
    let broken = true;
    const one = relay(
      async (messages) => {
        sent.push(messages.map(({ id }) => id));
        if (broken && sent.length >= 2) throw new Error('away');
        return stored(messages);
      },
      'one',
      { sendsMax: 3 },
    );
    await append(...Array.from({ length: 1_200 }, (_, i) => message(`m${i}`)));
    one.start();
    await clock.advance(50);
    broken = false;
    await clock.advance(60_000);
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    const again = sent.findLastIndex((ids) => ids[0] === 'm500');
    assert.ok(again > 1, 'from the second window on');
    assert.deepEqual(sent.slice(0, 2).map((ids) => ids[0]), ['m0', 'm500']);
    assert.ok(sent.slice(2, again + 1).every((ids) => ids[0] !== 'm1000'), 'and nothing behind it before');
    assert.deepEqual(sent[again]!.length, 500);
    await one.stop(0);
  });

  it('sends nothing that is behind a window which failed while the next one was being read', async () => {
    const { clock, append, relay, store } = await ledger();
    const reading = Promise.withResolvers<void>();
    let reads = 0;
    const outbox: OutboxPort = {
      ...store.ports.outbox,
      async acquire(owner, leaseMs) {
        const lease = await store.ports.outbox.acquire(owner, leaseMs);
        return (
          lease && {
            ...lease,
            async read(max) {
              const rows = await lease.read(max);
              if (++reads === 2) await reading.promise;
              return rows;
            },
          }
        );
      },
    };
    const sent: string[] = [];
    const failing = Promise.withResolvers<readonly SendOutcome[]>();
    const one = relay(
      (messages) => {
        sent.push(messages[0]!.id);
        return sent.length === 1 ? failing.promise : Promise.resolve(stored(messages));
      },
      'one',
      { sendsMax: 3, outbox },
    );
    await append(...Array.from({ length: 700 }, (_, i) => message(`m${i}`)));
    one.start();
    await clock.advance(10);
    failing.reject(new Error('away'));
    await clock.advance(1);
    reading.resolve();
    await clock.advance(60_000);
    assert.deepEqual(sent, ['m0', 'm0', 'm500'], 'the second window only after the first');
    await one.stop(0);
  });

  it('has one window at most that is not full, so that a trickle goes out in sets', async () => {
    const { clock, append, relay } = await ledger();
    const sends: { ids: string[]; answer: () => void }[] = [];
    const one = relay(
      (messages) => new Promise((resolve) => sends.push({ ids: messages.map(({ id }) => id), answer: () => resolve(stored(messages)) })),
      'one',
      { sendsMax: 4 },
    );
    one.start();
    await append(message('a'));
    await clock.advance(10);
    for (const id of ['b', 'c', 'd']) {
      await append(message(id));
      one.wake();
      await clock.advance(1);
    }
    assert.deepEqual(sends.map(({ ids }) => ids.join()), ['a']);
    sends[0]!.answer();
    await clock.advance(10);
    assert.deepEqual(sends.map(({ ids }) => ids.join()), ['a', 'b,c,d']);
    sends[1]!.answer();
    await clock.advance(10);
    await one.stop(0);
  });

  /** Its settles wait to be let through, in turn: `true` as the store does it, an error instead of it. */
  const settledByHand = async () => {
    const made = await ledger();
    const asked: PromiseWithResolvers<true | Error>[] = [];
    const outbox: OutboxPort = {
      ...made.store.ports.outbox,
      async acquire(owner, leaseMs) {
        const lease = await made.store.ports.outbox.acquire(owner, leaseMs);
        return (
          lease && {
            ...lease,
            async settle(position, parked) {
              const mine = Promise.withResolvers<true | Error>();
              asked.push(mine);
              const answer = await mine.promise;
              if (answer !== true) throw answer;
              await lease.settle(position, parked);
            },
          }
        );
      },
    };
    return { ...made, asked, outbox };
  };

  it('sends what was committed while it settles, and settles one thing after another', async () => {
    const { clock, append, relay, store, heard, asked, outbox } = await settledByHand();
    const sent: string[] = [];
    const one = relay(async (messages) => (sent.push(messages.map(({ id }) => id).join()), stored(messages)), 'one', { outbox });
    one.start();
    for (const id of ['a', 'b', 'c']) {
      await append(message(id));
      one.wake();
      await clock.advance(10);
    }
    assert.deepEqual([sent, asked.length], [['a', 'b'], 1], 'the third waits: two that are not settled are enough');
    assert.deepEqual(heard, [], 'and nobody is told before that is durable');
    asked[0]!.resolve(true);
    await clock.advance(10);
    assert.deepEqual([sent, heard, asked.length], [['a', 'b', 'c'], ['sent a'], 2]);
    const stopped = one.stop(1_000);
    await clock.advance(500);
    asked[1]!.resolve(true);
    await clock.advance(20);
    asked[2]!.resolve(true);
    await clock.advance(20);
    await stopped;
    assert.deepEqual(heard, ['sent a', 'sent b', 'sent c']);
    assert.equal((await store.ports.inspect.counts()).ready, 0);
  });

  it('sends everything from the settled position again when a settle fails beside it', async () => {
    const { clock, append, relay, store, heard, asked, outbox } = await settledByHand();
    const sent: string[] = [];
    const one = relay(async (messages) => (sent.push(messages.map(({ id }) => id).join()), stored(messages)), 'one', { outbox });
    await append(message('a'));
    one.start();
    await clock.advance(10);
    await append(message('b'));
    asked[0]!.resolve(new Error('the disk is full'));
    for (let ms = 0; ms < 5_000; ms += 10) {
      for (const settle of asked) settle.resolve(true);
      await clock.advance(10);
    }
    assert.deepEqual(sent, ['a', 'a,b']);
    assert.deepEqual(heard, ['paused: the disk is full', 'sent a', 'sent b']);
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    await one.stop(0);
  });

  it('keeps its lease while a broker takes its time', async () => {
    const { clock, append, relay } = await ledger();
    const gate = Promise.withResolvers<void>();
    const sent: string[] = [];
    const slow = relay(async (messages) => (sent.push('slow'), await gate.promise, stored(messages)), 'slow');
    const other = relay(async (messages) => (sent.push('other'), stored(messages)), 'other');
    await append(message('a'));
    slow.start();
    await clock.advance(10);
    other.start();
    await clock.advance(60_000);
    gate.resolve();
    await clock.advance(1_000);
    assert.deepEqual(sent, ['slow']);
    const ended = [slow.stop(0), other.stop(0)];
    await clock.advance(10);
    await Promise.all(ended);
  });
});
