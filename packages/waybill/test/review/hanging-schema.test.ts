/** A schema that does not answer. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { defineCommand, defineEvent } from 'waybill';
import { createTestBus } from 'waybill/testing';
import * as z from 'zod';
import { Noted } from '../support/contracts.ts';
import { overStores } from '../support/stores.ts';

const never = (value: unknown, calls: number): unknown => (calls > 1 ? new Promise(() => {}) : { value });
/** Hangs from its second use on: at the receiver. */
function hanging(entered: () => void = () => {}): any {
  let calls = 0;
  const validate = (value: unknown): unknown => {
    if (++calls > 1) entered();
    return never(value, calls);
  };
  return { '~standard': { version: 1, vendor: 'hanging', validate } };
}

overStores('a schema that does not answer', (store) => {
  it('parks its message after 30 s, and the queue goes on', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const Hung = defineEvent('desk.hung', { schema: hanging() });
    const texts: string[] = [];
    bus
      .subscription('both')
      .on(Hung, () => {})
      .on(Noted, ({ text }) => void texts.push(text));
    await bus.publish(Hung, {});
    await bus.advance(0);
    await bus.publish(Noted, { text: 'next' });
    await bus.advance(30_000);
    await bus.settled();
    assert.deepEqual((await bus.failures()).map(({ error }) => error.code), ['CONTRACT_VIOLATION']);
    assert.deepEqual(texts, ['next']);
  });

  it('lets go of the store when it is a reply that it does not answer for', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const schema = { '~standard': { version: 1, vendor: 'hanging', validate: () => new Promise<never>(() => {}) } } as const;
    const Ask = defineCommand('desk.ask', { schema: z.object({}), reply: schema });
    bus.handle(Ask, { retry: false }, () => ({}) as never);
    const asked = bus.request(Ask, {}, { timeoutMs: 60_000 });
    asked.catch(() => {});
    await bus.advance(30_000);
    await assert.rejects(asked, { code: 'REPLY_FAILED' });
    assert.equal(await bus.transaction(async () => 'free'), 'free');
  });

  it('does not keep stop() from ending', async () => {
    const bus = createTestBus({ service: 'desk', store });
    let entered = (): void => {};
    const inSchema = new Promise<void>((resolve) => (entered = resolve));
    const Hung = defineEvent('desk.hung', { schema: hanging(() => entered()) });
    bus.subscribe(Hung, () => {});
    await bus.publish(Hung, {});
    await inSchema;
    const began = bus.clock.monotonic();
    await bus.stop({ drainMs: 10 });
    assert.ok(bus.clock.monotonic() - began < 30_000);
  });
});
