/** Who gets which sessions: keys whose messages never end keep neither others from their turn, nor other instances idle. */
import './long-timers.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Clock, systemClock } from '../../src/contract/clock.ts';
import type { Consumer, TransportSession } from '../../src/contract/transport.ts';
import { labels, message } from '../../src/testing/conformance/message.ts';
import { to } from '../../src/testing/conformance/transport/world.ts';
import { holdMaxMs } from '../../src/transports/azure-service-bus/held-session.ts';
import { sessionOf } from '../../src/transports/azure-service-bus/names.ts';
import { place, signal, start } from './instances.ts';
import { message as azureMessage } from './sdk.ts';
import { startStandIn } from './stand-in/index.ts';
import { basketOn, busOn, check, publishPrices } from './whole-bus.ts';

const byKey = to('basket.prices', { order: 'by-key' });
/** Where a session's turn comes by what was taken: it comes after so many at the latest, or never. */
const soon = (): (() => boolean) => {
  let taken = 0;
  return () => taken++ < 5_000;
};
/** Where it comes by the clock: however fast this machine takes what is endless, it comes in this time, or never. */
const inTime = (): (() => boolean) => {
  const startedAt = performance.now();
  return () => performance.now() - startedAt < 60_000;
};

/** A slow consumer: one at a time. Answers what it was brought until `isEnough` says so. */
async function work(
  consumer: Consumer,
  isEnough: (label: string) => boolean,
  each: (label: string) => unknown = () => {},
  isPatient: () => boolean = soon(),
): Promise<void> {
  while (isPatient()) {
    const got = await consumer.receive(1, { waitMs: 1_000, signal });
    for (const label of labels(got)) {
      await each(label);
      await consumer.settle(got);
      if (isEnough(label)) return;
    }
  }
  assert.fail('patience is at its end, and it never came');
}

/** Whenever one of it was taken, another is there: its session is never empty. */
function endless(session: TransportSession, key: string): () => Promise<unknown> {
  let n = 0;
  return () => session.send([message(`${key} ${++n}`, { key })]);
}

/** Sessions are held a twentieth of their time, and have their turns as much sooner. */
function hasty(): Clock {
  const clock = systemClock();
  return { ...clock, monotonic: () => clock.monotonic() * 20, after: (ms, fn) => clock.after(ms === holdMaxMs ? ms / 20 : ms, fn) };
}

/** Keys in sessions of their own. */
function keysApart(count: number): string[] {
  const keys = new Map<string, string>();
  for (let n = 0; keys.size < count; n++) keys.set(sessionOf(`key ${n}`), `key ${n}`);
  return [...keys.values()];
}

describe('sessions of Azure Service Bus', { concurrency: 4 }, () => {
  it('a key whose messages never end does not keep another from its turn', async (t) => {
    const { session } = await start(t, await place(t));
    await session.declare(byKey);
    const [hot, cold] = keysApart(2) as [string, string];
    const more = endless(session, hot);
    for (let n = 0; n < 100; n++) await more();
    const consumer = await session.consume(byKey);
    await work(consumer, (label) => label.startsWith(hot), more);
    await session.send([message('cold', { key: cold })]);
    await work(consumer, (label) => label === 'cold', more);
  });

  it('more sessions than an instance may hold, none of which ever ends, all get their turn', async (t) => {
    const { session, client } = await start(t, await place(t), { clock: hasty() });
    await session.declare(byKey);
    const sender = client.createSender('waybill/events');
    const send = (id: string): Promise<void> => sender.sendMessages(azureMessage(Buffer.from(id), { sessionId: id, subject: 'catalog.price-changed.v1' }));
    const ids = Array.from({ length: 40 }, (_, n) => `foreign ${n}`);
    for (const id of ids) for (let n = 0; n < 3; n++) await send(id);
    const seen = new Set<string>();
    await work(await session.consume(byKey), (id) => seen.add(id).size === ids.length, send, inTime());
  });

  it('a new instance gets sessions although those of the other are never empty', async (t) => {
    const standIn = await place(t);
    const [one, two] = [await start(t, standIn, { clock: hasty() }), await start(t, standIn)];
    await one.session.declare(byKey);
    const keys = keysApart(4);
    const more = new Map(keys.map((key) => [key, endless(one.session, key)]));
    const again = (label: string): Promise<unknown> => more.get(label.replace(/ \d+$/, ''))!();
    for (const key of keys) for (let n = 0; n < 40; n++) await more.get(key)!();
    const seen = new Set<string>();
    const first = await one.session.consume(byKey);
    await work(first, (label) => seen.add(sessionOf(label.replace(/ \d+$/, ''))).size === keys.length, again, inTime());
    let over = false;
    const busy = work(first, () => over, again, inTime());
    await work(await two.session.consume(byKey), () => true, again, inTime());
    over = true;
    await busy;
  });

  it('an instance that stops asking leaves its sessions to others, and what it had under no suspicion', async (t) => {
    const standIn = await place(t);
    const [one, two] = [await start(t, standIn), await start(t, standIn)];
    await one.session.declare(byKey);
    await one.session.send([1, 2, 3].map((n) => message(String(n), { key: 'x' })));
    const paused = await one.session.consume(byKey);
    await work(paused, () => true);
    const other = await two.session.consume(byKey);
    for (const label of ['2', '3']) {
      let got = await other.receive(1, { waitMs: 1_000, signal });
      for (let n = 0; n < 20 && got.length === 0; n++) got = await other.receive(1, { waitMs: 1_000, signal });
      assert.deepEqual([labels(got), got[0]?.suspect, got[0]?.redelivered], [[label], false, false]);
      await other.settle(got);
    }
  });

  it('a rolling restart of three instances loses, doubles and disorders nothing', async (t) => {
    const standIn = await startStandIn();
    const folder = mkdtempSync(join(tmpdir(), 'waybill-azure-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const instance = () => busOn(t, standIn, { service: 'basket', store: `sqlite:${folder}/basket.db`, timeoutMs: 2_000 });
    const catalog = busOn(t, standIn, { service: 'catalog', timeoutMs: 2_000 });
    t.after(() => standIn.close());
    const size = { keys: 12, revisions: 20 };
    const total = size.keys * size.revisions;
    let applied = 0;
    let look = (): void => {};
    const until = (count: number): Promise<void> =>
      new Promise((resolve) => {
        look = () => void (applied >= count && resolve());
        look();
      });
    const begin = async () => {
      const bus = instance();
      bus.on('applied', () => (applied++, look()));
      return { bus, ...(await basketOn(bus, ['by-key'])) };
    };
    const instances = [await begin(), await begin(), await begin()];
    await catalog.start();
    const published = publishPrices(catalog, size);
    for (let n = 0; n < 3; n++) {
      await until(((n + 1) * total) / 5);
      await instances[n]!.bus.stop({ drainMs: 5_000 });
      instances.push(await begin());
    }
    await published;
    await until(total);
    check(await instances.at(-1)!.effects(), size, ['by-key']);
  });
});
