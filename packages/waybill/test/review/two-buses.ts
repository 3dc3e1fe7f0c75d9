/** A process with two buses that hear signals: one is at rest, the other at work when SIGTERM comes. */
import { createBus } from 'waybill';
import { memory } from 'waybill/transports/memory';
import { Noted } from '../support/contracts.ts';
import { quiet } from './support.ts';

const transport = memory();
const [idle, working] = ['idle', 'working'].map((service) => createBus({ service, store: 'memory:', transport, handleSignals: true, logger: quiet }));
working!.subscribe(Noted, async () => {
  process.kill(process.pid, 'SIGTERM');
  await new Promise((resolve) => setTimeout(resolve, 300)); // longer than the other takes to stop
});
working!.on('applied', () => console.log('applied'));
await idle!.start();
await working!.start();
await working!.publish(Noted, { text: 'a' });
