/**
 * Fuzzing: envelopes and bodies at a running bus, options at its functions, URLs at its drivers. Nothing crashes, nothing
 * holds the event loop, nothing is lost: what is no message is a failure with its bytes, and good ones pass. `FUZZ=100000`
 * runs more than npm test does, `FUZZ_SEED` other ones.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError, createBus, defineEvent } from 'waybill';
import { cloudEvents } from 'waybill/formats/cloudevents';
import { operations } from 'waybill/operations';
import { memory } from 'waybill/transports/memory';
import type { WireMessage } from '../../src/contract/message.ts';
import { mulberry32 } from '../../src/testing/clock.ts';
import { anything, corpus, costMs, hostile, long } from './fuzz.ts';

const count = Number(process.env.FUZZ ?? 2_000);
const seed = Number(process.env.FUZZ_SEED ?? 1);
/** Of processor time for one message: the event loop is everybody's. */
const loopMaxMs = 50;

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const isStep = (value: unknown): value is { n: number } => typeof value === 'object' && value !== null && typeof (value as { n?: unknown }).n === 'number';
const Asked = defineEvent('fuzz.asked', {
  schema: { '~standard': { version: 1, vendor: 'fuzz', validate: (value: unknown) => (isStep(value) ? { value } : { issues: [{ message: 'no n' }] }) } },
});

/** What is refused is refused with a code; and neither takes long. */
async function refusedOrTaken(what: string, attempt: () => unknown): Promise<WaybillError | undefined> {
  let refused: WaybillError | undefined;
  const ms = await costMs(loopMaxMs, async () => {
    try {
      await attempt();
    } catch (error) {
      assert.ok(WaybillError.is(error), `${what}: ${String((error as Error)?.stack)}`);
      refused = error;
    }
  });
  assert.ok(ms < loopMaxMs, `${what} took ${ms} ms of processor time`);
  return refused;
}

describe('hostile input', { timeout: 60_000 + 20 * count }, () => {
  it('to the reading of an envelope is read or refused, quickly', () => {
    const random = mulberry32(seed);
    for (let i = 0; i < count; i++) {
      const { headers, body, why } = i < corpus.length ? corpus[i]! : hostile(random);
      const began = process.cpuUsage();
      try {
        cloudEvents.decode(headers, body);
      } catch (error) {
        assert.ok(WaybillError.is(error), `${why}: ${String(error)} for ${JSON.stringify(headers)}`);
      }
      const { user } = process.cpuUsage(began);
      assert.ok(user / 1000 < loopMaxMs, `${why}: ${user} µs for ${JSON.stringify(headers).slice(0, 300)}`);
    }
    assert.equal(({} as { isAdmin?: boolean }).isAdmin, undefined);
  });

  it('to a subscription is handled or kept with its bytes, and good messages pass', async () => {
    const random = mulberry32(seed + 1);
    const transport = memory();
    await using bus = createBus({ service: 'earth', store: 'memory:', transport, logger: silent });
    const good = new Set<number>();
    const settled = new Set<string>();
    for (const signal of ['applied', 'failed', 'duplicate', 'expired', 'skipped', 'stale'] as const) bus.on(signal, ({ id, source }) => void settled.add(`${source} ${id}`));
    bus.subscribe(Asked, (event) => void good.add(event.n));
    await bus.start();
    let session: { send(messages: readonly WireMessage[]): Promise<unknown>; close(): Promise<void> } | undefined;
    const host = { service: 'mars', clock: { now: Date.now }, signals: { emit() {}, has: () => false, on: () => () => {} }, logger: silent, migrate: 'auto' };
    session = (await transport.connect(host as never)) as unknown as typeof session;
    const wires: WireMessage[] = [];
    for (let i = 0; i < Math.min(count, 20_000); i++) {
      const { headers, body } = i < corpus.length ? corpus[i]! : hostile(random);
      wires.push({ kind: 'event', id: `w${i}`, source: 'mars', type: 'fuzz.asked.v1', recipient: undefined, key: undefined, time: 0, headers, body });
      if (i % 10 === 0) {
        const id = `good${i}`;
        wires.push({
          kind: 'event', id, source: 'mars', type: 'fuzz.asked.v1', recipient: undefined, key: undefined, time: 0,
          headers: { 'ce-specversion': '1.0', 'ce-id': id, 'ce-source': 'mars', 'ce-type': 'fuzz.asked.v1' }, body: Buffer.from(JSON.stringify({ n: 1_000_000 + i })),
        }); // prettier-ignore
      }
    }
    await session!.send(wires);
    const wanted = Array.from({ length: Math.ceil(Math.min(count, 20_000) / 10) }, (_, i) => 1_000_000 + 10 * i);
    // Everything is out of the queue and has a place: until then there is something to wait for.
    while (!wanted.every((n) => good.has(n))) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(wanted.filter((n) => !good.has(n)), []);
    const failures = await operations(bus).failures.list({ limit: 1_000 });
    assert.ok(failures.length > 0);
    await session!.close();
  });

  it('as options and data is refused by name', async () => {
    const random = mulberry32(seed + 2);
    for (let i = 0; i < count; i++) {
      const options = { service: anything(random), store: 'memory:', transport: 'memory:', logger: silent, [String(anything(random, 9) ?? 'x')]: anything(random) };
      await refusedOrTaken('createBus', async () => {
        const bus = createBus(options as never);
        await bus.stop();
      });
    }
    await using bus = createBus({ service: 'earth', store: 'memory:', transport: 'memory:', logger: silent });
    for (let i = 0; i < count; i++) {
      const [a, b, c, d] = [anything(random), anything(random), anything(random), anything(random)] as never[];
      await refusedOrTaken('subscribe', () => bus.subscribe(Asked, { name: a, retry: b, batch: c } as never, () => {}));
      await refusedOrTaken('publish', () => bus.publish(Asked, a!, { id: b, headers: c, delayMs: d } as never));
      await refusedOrTaken('caughtUp', () => bus.caughtUp(a!, { timeoutMs: 1 }));
      await refusedOrTaken('cancel', () => bus.cancel(a!));
      await refusedOrTaken('once', () => bus.once(a!, b!, async () => 1));
    }
  });

  it('as URLs is refused by name, and never told with its secrets', async () => {
    const random = mulberry32(seed + 3);
    const schemes = ['sqlite', 'memory', 'postgres', 'amqp', 'amqps', 'nats', 'redis', 'sb', 'http', '', 'javascript', '__proto__'];
    const parts = [...long, '//', ':', '@', 'user:hunter2@', 'host', ':99999', '/%00', '?a=%zz', '#', '\u0000', ' ', '\\', '[::1', '../', 'ä'];
    for (let i = 0; i < Math.min(count, 2_000); i++) {
      const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
      const scheme = pick(schemes);
      if (scheme === 'sqlite') continue; // would make files
      const url = `${scheme}:${Array.from({ length: Math.floor(random() * 5) }, () => pick(parts)).join('')}`;
      if (/^(amqps?|postgres|nats|redis|sb):/.test(url) && (/host|::1/.test(url) || url.length > 10_000)) continue; // would look for a server
      const error = await refusedOrTaken(url.slice(0, 300), async () => {
        const bus = createBus({ service: 'earth', store: 'memory:', transport: url, logger: silent });
        try {
          await bus.publish(Asked, { n: 1 });
        } finally {
          await bus.stop();
        }
      });
      assert.ok(error?.message.includes('hunter2') !== true, `${JSON.stringify(url)}: ${error?.message}`);
    }
  });

  it('that takes long would be noticed', async () => {
    const spin = (): void => {
      const began = process.cpuUsage();
      while (process.cpuUsage(began).user < (loopMaxMs + 10) * 1000);
    };
    await assert.rejects(refusedOrTaken('spinning', spin), /spinning took \d.* ms/);
    await assert.rejects(refusedOrTaken('throwing', () => Promise.reject(new TypeError('no code'))), /throwing: TypeError/);
  });
});
