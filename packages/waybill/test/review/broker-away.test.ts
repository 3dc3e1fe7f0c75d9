/** A broker that is away while a bus starts or stops. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createBus, WaybillError } from 'waybill';
import { memory } from 'waybill/transports/memory';
import { Noted } from '../support/contracts.ts';
import { quiet, signal } from './support.ts';

it('a bus starts although the broker went away just then, and its subscriptions follow', async (t) => {
  const transport = memory();
  transport.faults.set({ away: true });
  const bus = createBus({ service: 'desk', store: 'memory:', transport, logger: quiet });
  t.after(() => bus.stop({ drainMs: 0 }));
  const heard = signal<string>();
  const subscription = bus.subscribe(Noted, ({ text }) => heard.give(text));
  await bus.start();
  transport.faults.clear();
  await subscription.ready();
  await bus.publish(Noted, { text: 'a' });
  assert.equal(await heard.come, 'a');
});

it('a connection that comes only after stop() is closed', async () => {
  const real = memory();
  const [trying, letIn, closed] = [signal(), signal(), signal()];
  let tries = 0;
  const transport = {
    kind: 'late',
    async connect(host: Parameters<typeof real.connect>[0]) {
      if (++tries === 1) throw new WaybillError('TRANSPORT_UNREACHABLE', 'the broker is away');
      trying.give();
      await letIn.come;
      const session = await real.connect(host);
      const close = async (): Promise<void> => {
        await session.close();
        closed.give();
      };
      return { ...session, close };
    },
  };
  const bus = createBus({ service: 'desk', store: 'memory:', transport, logger: quiet });
  await bus.start();
  await trying.come;
  await bus.stop();
  letIn.give();
  await closed.come;
});
