/** Several instances of a service on one store, over a transport that lets all of them work. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type Bus, createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { memory } from 'waybill/transports/memory';
import { Noted } from '../support/contracts.ts';
import { folder, quiet, signal } from './support.ts';

it('instances share the runs of a message that fails: no more than allowed, none of them a crash', async (t) => {
  const store = `sqlite:${folder(t)}/desk.db`;
  const transport = memory();
  const done = signal();
  let runs = 0;
  const buses: Bus[] = [];
  for (let i = 0; i < 6; i++) {
    const bus = createBus({ service: 'desk', store, transport, logger: quiet });
    buses.push(bus);
    t.after(() => bus.stop({ drainMs: 0 }));
    bus.subscribe(Noted, { transaction: 'own', retry: { immediate: 0, delayed: 3, delayMs: 20, delayMaxMs: 20 } }, async () => {
      runs++;
      await new Promise((resolve) => setTimeout(resolve, 1_500)); // longer than the others take to look at what waits
      throw new Error('no');
    });
    bus.on('failed', () => done.give());
  }
  for (const bus of buses) await bus.start();
  await buses[0]!.publish(Noted, { text: 'a' });
  await done.come;
  const [failure] = await operations(buses[0]!).failures.list();
  assert.deepEqual([runs, failure!.code, failure!.attempts], [4, 'HANDLER_FAILED', 4]);
});
