/**
 * Azure Service Bus beside its own SDK, in one run, interleaved: sending in batches as the relay does, and receiving under
 * peek-lock with 100 in hand. The broker is the stand-in of the tests in a process of its own, so the absolute figures
 * say nothing of Azure; the ratios say what this transport adds in this process.
 *
 *     node benchmarks/azure.ts [messages]
 *
 * Payload 200 B. Costs per message: one encoding and a 500th of a transfer to send; one transfer, one disposition to receive.
 * Correct: every message is counted, by id.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { ServiceBusAdministrationClient, ServiceBusClient, type ServiceBusReceivedMessage } from '@azure/service-bus';
import { azureServiceBus } from 'waybill/transports/azure-service-bus';

/** Fewer, and closing the consumer, which drains its link, shows in ours alone. */
const count = Number(process.argv[2] ?? 12_000);
const rounds = 3;
const window = 500;
const body = Buffer.alloc(200, 'x');

const child = fork('packages/waybill/test/azure-service-bus/stand-in/main.ts', ['{}'], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
const { connectionString, administrationPort } = JSON.parse(line) as { connectionString: string; administrationPort: number };

const client = new ServiceBusClient(connectionString);
const administration = new ServiceBusAdministrationClient(connectionString);
administration.pipeline.addPolicy({
  name: 'to the stand-in',
  sendRequest(request, next) {
    const url = new URL(request.url.replace(/^https:/, 'http:'));
    url.port = String(administrationPort);
    request.url = url.toString();
    request.allowInsecureConnection = true;
    return next(request);
  },
});

type Session = Awaited<ReturnType<ReturnType<typeof azureServiceBus>['connect']>>;
type Host = Parameters<ReturnType<typeof azureServiceBus>['connect']>[0];
const host = {
  service: 'bench',
  clock: { now: Date.now, monotonic: () => performance.now(), after: (ms: number, fn: () => void) => (clearAfter(setTimeout(fn, ms))), turn: () => new Promise<void>((resolve) => setImmediate(resolve)), random: Math.random, id: randomUUID },
  signals: { emit() {}, has: () => false, on: () => () => {} },
  logger: { debug() {}, info() {}, warn: console.warn, error: console.error },
  migrate: 'auto',
  store: undefined,
} as unknown as Host;
function clearAfter(timer: NodeJS.Timeout): () => void {
  return () => clearTimeout(timer);
}
const session: Session = await azureServiceBus(client, { administration }).connect(host);
const type = 'bench.happened.v1';
const declaration = { name: 'bench.happened', bindings: [{ type, kind: 'event' as const }], order: 'any' as const, from: 'now' as const, formerly: [] };
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

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const took: Record<'rawSend' | 'ourSend' | 'rawReceive' | 'ourReceive', number[]> = { rawSend: [], ourSend: [], rawReceive: [], ourReceive: [] };
for (let round = 0; round <= rounds; round++) {
  const one = { rawSend: await rawSend(), ourSend: await ourSend(), rawReceive: await rawReceive(), ourReceive: await ourReceive() };
  if (round === 0) continue; // warm
  for (const name of Object.keys(took) as (keyof typeof took)[]) took[name].push(one[name]);
  console.log(Object.entries(one).map(([name, ms]) => `${name} ${Math.round((count / ms) * 1_000)}/s`).join('   '));
}
const ratios = [
  { beside: "the SDK's batched send", measured: median(took.rawSend) / median(took.ourSend), goal: 0.85 },
  { beside: "the SDK's subscribe", measured: median(took.rawReceive) / median(took.ourReceive), goal: 0.85 },
].map((ratio) => ({ ...ratio, measured: Math.round(ratio.measured * 100) / 100, holds: ratio.measured >= ratio.goal }));
console.log(JSON.stringify({ name: 'azure', ratios, correct: true, count, rounds }));
await session.close();
await client.close();
child.kill('SIGTERM');
