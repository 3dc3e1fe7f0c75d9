/** Instances of a service on a stand-in, below the bus: sessions of the transport, and what their consumers are brought. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { ServiceBusClient } from '@azure/service-bus';
import { type Clock, systemClock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { WireMessage } from '../../src/contract/message.ts';
import type { SignalName } from '../../src/contract/signals.ts';
import type { Consumer, Delivery, TransportSession } from '../../src/contract/transport.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { labels } from '../../src/testing/conformance/message.ts';
import { azureServiceBus } from '../../src/transports/azure-service-bus/index.ts';
import { sdkAdministration, sdkClient } from './sdk.ts';
import { startStandIn, type StandIn } from './stand-in/index.ts';

/** Nothing aborts it. */
export const signal: AbortSignal = new AbortController().signal;

export interface Instance {
  readonly session: TransportSession;
  readonly client: ServiceBusClient;
  readonly warnings: () => unknown[];
  /** What was told by this signal. */
  readonly reports: (name: SignalName) => unknown[];
}

interface StartOptions {
  readonly migrate?: 'auto' | 'check';
  readonly clock?: Clock;
}

/** What to close after a test, the newest first: with its broker away the SDK takes a minute to close. */
export const endsOf = new WeakMap<TestContext, (() => Promise<void>)[]>();

export async function start(t: TestContext, standIn: StandIn, { migrate = 'auto', clock = systemClock() }: StartOptions = {}): Promise<Instance> {
  const reports: { name: string; detail: unknown }[] = [];
  const host = recordingHost('basket', clock, reports, migrate);
  const client = sdkClient(standIn, 3_000);
  const ends = endsOf.get(t)!;
  ends.unshift(() => client.close());
  const session = await azureServiceBus(client, { administration: sdkAdministration(standIn) }).connect({ ...host, store: await memory().open(host) });
  ends.unshift(() => session.close());
  return { session, client, warnings: () => reports.filter(({ name }) => name === 'warn'), reports: (wanted) => reports.flatMap(({ name, detail }) => (name === wanted ? [detail] : [])) };
}

export async function place(t: TestContext): Promise<StandIn> {
  const standIn = await startStandIn();
  const ends = [() => standIn.close()];
  endsOf.set(t, ends);
  t.after(async () => {
    for (const end of ends) await end();
  });
  return standIn;
}

export async function take(consumer: Consumer, count: number, maxMs = 10_000): Promise<Delivery[]> {
  const got: Delivery[] = [];
  const untilMs = Date.now() + maxMs;
  while (got.length < count && Date.now() < untilMs) {
    try {
      got.push(...(await consumer.receive(count - got.length, { waitMs: 1_000, signal })));
    } catch (error) {
      if (!WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50)); // as the inbox does
    }
  }
  assert.equal(got.length, count, labels(got).join());
  return got;
}

/** Until it was stored, as the relay does. */
export async function sendInsisting(session: TransportSession, messages: readonly WireMessage[], maxMs = 30_000): Promise<void> {
  for (const untilMs = Date.now() + maxMs; ; ) {
    try {
      const outcomes = await session.send(messages);
      return assert.ok(outcomes.every(({ kind }) => kind === 'stored'));
    } catch (error) {
      if (!WaybillError.is(error, 'TRANSPORT_UNREACHABLE') || Date.now() > untilMs) throw error;
    }
  }
}
