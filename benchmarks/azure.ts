/**
 * `azure`: Azure Service Bus beside its own SDK, in one run, interleaved: sending in batches as the relay does, and receiving under
 * peek-lock with 100 in hand. The broker is the stand-in of the tests in a process of its own, so the absolute figures
 * say nothing of Azure; the ratios say what this transport adds in this process.
 *
 * Payload 200 B. Costs per message: one encoding and a 500th of a transfer to send; one transfer, one disposition to receive.
 * Correct: every message is counted, by id.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ServiceBusClient, type ServiceBusReceivedMessage } from '@azure/service-bus';
import { azureServiceBus } from 'waybill/transports/azure-service-bus';
import { sdkAdministration } from '../packages/waybill/test/azure-service-bus/sdk.ts';
import { atLeast, median, type Report } from './report.ts';

/** Fewer, and closing the consumer, which drains its link, shows in ours alone. */
const count = 12_000;
const window = 500;
const body = Buffer.alloc(200, 'x');
const goal = 0.85;

type Way = 'rawSend' | 'ourSend' | 'rawReceive' | 'ourReceive';

export async function azure({ quick }: { quick: boolean }): Promise<Report> {
  const rounds = quick ? 1 : 5;
  const broker = await startBroker();
  try {
    const ways = await prepare(broker);
    const perSecond: Record<Way, number[]> = { rawSend: [], ourSend: [], rawReceive: [], ourReceive: [] };
    for (let round = 0; round <= rounds; round++) {
      for (const way of Object.keys(perSecond) as Way[]) {
        const tookMs = await ways[way]();
        if (round > 0) perSecond[way].push(Math.round((count / tookMs) * 1_000)); // the first is warm
      }
    }
    await ways.close();
    const beside = (ours: Way, raw: Way): number => median(perSecond[ours].map((rate, round) => rate / perSecond[raw][round]!));
    return {
      name: 'azure',
      ratios: [atLeast("the SDK's batched send", beside('ourSend', 'rawSend'), goal), atLeast("the SDK's subscribe", beside('ourReceive', 'rawReceive'), goal)],
      correct: true, // or it would have thrown
      messages: count,
      perSecond,
    };
  } finally {
    broker.child.kill('SIGTERM');
  }
}

interface Broker {
  readonly child: ChildProcess;
  readonly connectionString: string;
  readonly administrationPort: number;
}

async function startBroker(): Promise<Broker> {
  const child = fork(fileURLToPath(import.meta.resolve('../packages/waybill/test/azure-service-bus/stand-in/main.ts')), ['{}'], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
  return { child, ...(JSON.parse(line) as { connectionString: string; administrationPort: number }) };
}

type Host = Parameters<ReturnType<typeof azureServiceBus>['connect']>[0];
const host = {
  service: 'bench',
  clock: {
    now: Date.now,
    monotonic: () => performance.now(),
    after: (ms: number, fn: () => void) => {
      const timer = setTimeout(fn, ms);
      return () => clearTimeout(timer);
    },
    turn: () => new Promise<void>((resolve) => setImmediate(resolve)),
    random: Math.random,
    id: randomUUID,
  },
  signals: { emit() {}, has: () => false, on: () => () => {} },
  logger: { debug() {}, info() {}, warn: console.warn, error: console.error },
  migrate: 'auto',
  store: undefined,
} as unknown as Host;

const type = 'bench.happened.v1';
const declaration = { name: 'bench.happened', bindings: [{ type, kind: 'event' as const }], order: 'any' as const, from: 'now' as const, formerly: [] };

/** Each answers how many milliseconds it took. */
async function prepare({ connectionString, administrationPort }: Broker): Promise<Record<Way, () => Promise<number>> & { close(): Promise<void> }> {
  const client = new ServiceBusClient(connectionString);
  const administration = sdkAdministration({ connectionString, administrationPort });
  const session = await azureServiceBus(client, { administration }).connect(host);
  await session.declare(declaration);
  await administration.createTopic('raw');
  await administration.createSubscription('raw', 'raw', { lockDuration: 'PT30S', maxDeliveryCount: 500 });

  const messages = (): { id: string; headers: Record<string, string> }[] =>
    Array.from({ length: count }, (_, n) => {
      const id = randomUUID();
      return { id, headers: { 'ce-specversion': '1.0', 'ce-id': id, 'ce-source': 'bench', 'ce-type': type, 'ce-time': new Date().toISOString(), 'ce-partitionkey': `k${n % 50}`, 'content-type': 'application/json' } };
    });

  async function rawSend(): Promise<number> {
    const all = messages();
    const sender = client.createSender('raw');
    await sender.createMessageBatch(); // the link is open
    const began = performance.now();
    for (let at = 0; at < count; at += window) {
      let batch = await sender.createMessageBatch();
      for (const { id, headers } of all.slice(at, at + window)) {
        const { 'content-type': contentType, ...properties } = headers;
        const message = { body, messageId: id, subject: type, contentType: contentType!, sessionId: '1', applicationProperties: Object.fromEntries(Object.entries(properties).map(([name, value]) => [name.replace('ce-', 'cloudEvents_'), value])) };
        if (batch.tryAddMessage(message)) continue;
        await sender.sendMessages(batch);
        batch = await sender.createMessageBatch();
        assert.ok(batch.tryAddMessage(message));
      }
      await sender.sendMessages(batch);
    }
    const tookMs = performance.now() - began;
    await sender.close();
    return tookMs;
  }

  async function ourSend(): Promise<number> {
    const all = messages().map(({ id, headers }) => ({ kind: 'event' as const, id, source: 'bench', type, recipient: undefined, key: headers['ce-partitionkey'], time: Date.now(), headers, body }));
    const began = performance.now();
    for (let at = 0; at < count; at += window) {
      for (const { kind } of await session.send(all.slice(at, at + window))) assert.equal(kind, 'stored');
    }
    return performance.now() - began;
  }

  async function rawReceive(): Promise<number> {
    const receiver = client.createReceiver('raw', 'raw', { skipParsingBodyAsJson: true, maxAutoLockRenewalDurationInMs: 0 });
    const seen = new Set<string>();
    const done = Promise.withResolvers<void>();
    const completions: Promise<void>[] = [];
    const began = performance.now();
    receiver.subscribe(
      {
        async processMessage(message: ServiceBusReceivedMessage) {
          seen.add(String(message.messageId));
          completions.push(receiver.completeMessage(message));
          if (seen.size === count) done.resolve();
        },
        processError: async ({ error }) => done.reject(error),
      },
      { autoCompleteMessages: false, maxConcurrentCalls: 100 },
    );
    await done.promise;
    await Promise.all(completions);
    const tookMs = performance.now() - began;
    await receiver.close();
    return tookMs;
  }

  async function ourReceive(): Promise<number> {
    const consumer = await session.consume(declaration);
    const seen = new Set<string>();
    const signal = new AbortController().signal;
    const began = performance.now();
    while (seen.size < count) {
      const got = await consumer.receive(100, { waitMs: 10_000, signal });
      assert.ok(got.length > 0, `${seen.size} of ${count}`);
      for (const { headers } of got) seen.add(headers['ce-id']!);
      await consumer.settle(got);
    }
    await consumer.close(); // waits for the acknowledgements
    return performance.now() - began;
  }

  return {
    rawSend,
    ourSend,
    rawReceive,
    ourReceive,
    async close() {
      await session.close();
      await client.close();
    },
  };
}
