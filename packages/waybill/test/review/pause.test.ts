/** A subscription that is paused while it takes what is next. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createBus, defineEvent, WaybillError } from 'waybill';
import { memory } from 'waybill/transports/memory';
import { Noted } from '../support/contracts.ts';
import { embedded, quiet, signal } from './support.ts';

/** An event whose schema waits at the receiver. */
function waitingSchema(): { contract: ReturnType<typeof defineEvent<'desk.slow', { n: number }, { n: number }>>; entered: Promise<void>; open: () => void } {
  const entered = signal();
  const gate = signal();
  let calls = 0;
  const contract = defineEvent('desk.slow', {
    schema: {
      '~standard': {
        version: 1,
        vendor: 'slow',
        async validate(value: unknown) {
          if (++calls > 1) {
            entered.give();
            await gate.come;
          }
          return { value: value as { n: number } };
        },
      },
    },
  });
  return { contract, entered: entered.come, open: () => gate.give() };
}

it('runs nothing after pause() has resolved, also what was being decoded', async (t) => {
  const bus = embedded(t, 'desk');
  const { contract, entered, open } = waitingSchema();
  const applied = signal();
  let runs = 0;
  const subscription = bus.subscribe(contract, () => {
    runs++;
    applied.give();
  });
  await bus.start();
  await bus.publish(contract, { n: 1 });
  await entered;
  await subscription.pause();
  open();
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(runs, 0);
  await subscription.resume();
  await applied.come;
  assert.equal(runs, 1);
});

it('gives back what it has when it cannot wait for more of a set', async (t) => {
  const transport = memory();
  const trouble = signal();
  let troubles = 1;
  /** The broker is away once, just when the set is to be filled; what was delivered stays this consumer's. */
  const unsteady = {
    kind: 'unsteady',
    connect: async (host: Parameters<typeof transport.connect>[0]) => {
      const session = await transport.connect(host);
      return {
        ...session,
        consume: async (declaration: Parameters<typeof session.consume>[0]) => {
          const consumer = await session.consume(declaration);
          const { receive } = consumer;
          consumer.receive = (max, how) => {
            if (how.waitMs > 0 || troubles === 0) return receive.call(consumer, max, how);
            troubles--;
            trouble.give();
            return Promise.reject(new WaybillError('TRANSPORT_UNREACHABLE', 'away for a moment'));
          };
          return consumer;
        },
      };
    },
  };
  const bus = createBus({ service: 'desk', store: 'memory:', transport: unsteady, logger: quiet });
  t.after(() => bus.stop({ drainMs: 0 }));
  const applied = signal<number>();
  bus.subscribeBatch(Noted, { lingerMs: 1 }, (events) => applied.give(events.length));
  await bus.start();
  await bus.publish(Noted, { text: 'a' });
  await trouble.come;
  assert.equal(await applied.come, 1);
});

it('lets a handler pause its own subscription', async (t) => {
  const bus = embedded(t, 'desk');
  const applied = signal<string>();
  const subscription = bus.subscribe(Noted, { retry: false }, async () => {
    await subscription.pause();
  });
  for (const name of ['applied', 'failed'] as const) bus.on(name, () => applied.give(name));
  await bus.start();
  await bus.publish(Noted, { text: 'a' });
  assert.equal(await applied.come, 'applied');
});
