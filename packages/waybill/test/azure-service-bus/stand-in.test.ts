/** The stand-in, through the official SDK: what tests of the transport rely on. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, describe, it } from 'node:test';
import type { ServiceBusAdministrationClient, ServiceBusClient, ServiceBusReceivedMessage } from '@azure/service-bus';
import { message, sdkAdministration, sdkClient, take } from './sdk.ts';
import { defaults, Entity, type Taker } from './stand-in/entity.ts';
import { AmqpError, startStandIn, type StandIn } from './stand-in/index.ts';
import { nowhere } from './stand-in/journal.ts';

const bodies = (messages: readonly ServiceBusReceivedMessage[]): unknown[] => messages.map(({ body }) => body as unknown);
/** After more than one try the SDK throws them all together. */
const code = (wanted: string) => (error: unknown) => {
  const last = error instanceof AggregateError ? (error.errors.at(-1) as unknown) : error;
  return (last as { code?: string }).code === wanted || assert.fail(String(last));
};

describe('the stand-in for Azure Service Bus', () => {
  let standIn: StandIn;
  let client: ServiceBusClient;
  let administration: ServiceBusAdministrationClient;
  let count = 0;

  before(async () => {
    standIn = await startStandIn();
    client = sdkClient(standIn);
    administration = sdkAdministration(standIn);
  });
  afterEach(() => {
    standIn.faults.clear();
    standIn.deny(false);
  });
  after(async () => {
    await client.close();
    await standIn.close();
  });

  /** A queue of its own for each test. */
  const queue = (settings: Parameters<StandIn['namespace']['createQueue']>[1] = {}): string => {
    const name = `queue-${++count}`;
    standIn.namespace.createQueue(name, settings);
    return name;
  };

  it('keeps a message until it is completed, with its properties', async () => {
    const name = queue();
    await client.createSender(name).sendMessages({ body: { a: 1 }, messageId: 'm', subject: 's', correlationId: 'c', applicationProperties: { n: 1, text: 'ü' } });
    const receiver = client.createReceiver(name);
    const [got] = await take(receiver, 1);
    assert.deepEqual([got!.body, got!.messageId, got!.subject, got!.correlationId, got!.applicationProperties], [{ a: 1 }, 'm', 's', 'c', { n: 1, text: 'ü' }]);
    assert.deepEqual([got!.deliveryCount, got!.lockedUntilUtc! > new Date()], [0, true]);
    assert.equal((await take(receiver, 1, 50)).length, 0);
    await receiver.completeMessage(got!);
    standIn.expireLocks();
    assert.equal((await take(receiver, 1, 50)).length, 0);
  });

  it('takes batches apart, and gives them whole', async () => {
    const name = queue();
    const sender = client.createSender(name);
    const batch = await sender.createMessageBatch();
    for (let n = 0; n < 500; n++) assert.ok(batch.tryAddMessage({ body: n, messageId: `${n}` }));
    await sender.sendMessages(batch);
    const receiver = client.createReceiver(name);
    const got = await take(receiver, 500);
    assert.deepEqual(bodies(got), Array.from({ length: 500 }, (_, n) => n));
    await Promise.all(got.map((each) => receiver.completeMessage(each)));
  });

  it('streams thousands past the window of deliveries', async () => {
    const name = queue();
    const sender = client.createSender(name);
    for (let at = 0; at < 3_000; at += 500) await sender.sendMessages(Array.from({ length: 500 }, (_, n) => (message(at + n))));
    const receiver = client.createReceiver(name);
    const got: unknown[] = [];
    const all = Promise.withResolvers<void>();
    receiver.subscribe(
      { processMessage: async ({ body }) => void (got.push(body) === 3_000 && all.resolve()), processError: async ({ error }) => all.reject(error) },
      { maxConcurrentCalls: 100 },
    );
    await all.promise;
    await receiver.close();
    assert.equal(new Set(got).size, 3_000);
  });

  it('gives a message that is abandoned again, with changed properties, and dead-letters it in the end', async () => {
    const name = queue({ maxDeliveries: 3 });
    await client.createSender(name).sendMessages(message('poison'));
    const receiver = client.createReceiver(name);
    for (let n = 0; n < 3; n++) {
      const [got] = await take(receiver, 1);
      assert.deepEqual([got!.deliveryCount, got!.applicationProperties?.['tries']], [n, n === 0 ? undefined : n]);
      await receiver.abandonMessage(got!, { tries: n + 1 });
    }
    const [dead] = await take(client.createReceiver(name, { subQueueType: 'deadLetter' }), 1);
    assert.deepEqual([dead!.body, dead!.deadLetterReason, dead!.deadLetterSource], ['poison', 'MaxDeliveryCountExceeded', name]);
  });

  it('dead-letters on request, with the reason', async () => {
    const name = queue();
    await client.createSender(name).sendMessages(message('bad'));
    const receiver = client.createReceiver(name);
    await receiver.deadLetterMessage((await take(receiver, 1))[0]!, { deadLetterReason: 'no id', deadLetterErrorDescription: 'it has none' });
    const [dead] = await take(client.createReceiver(name, { subQueueType: 'deadLetter' }), 1);
    assert.deepEqual([dead!.deadLetterReason, dead!.deadLetterErrorDescription], ['no id', 'it has none']);
  });

  it('gives a message to another when its lock has run out, and refuses the late completion', async () => {
    const name = queue({ lockMs: 150 });
    await client.createSender(name).sendMessages(message('slow'));
    const receiver = client.createReceiver(name, { maxAutoLockRenewalDurationInMs: 0 });
    const [first] = await take(receiver, 1);
    const [second] = await take(client.createReceiver(name), 1);
    assert.equal(second!.deliveryCount, 1);
    await assert.rejects(receiver.completeMessage(first!), code('MessageLockLost'));
  });

  it('renews a lock', async () => {
    const name = queue({ lockMs: 400 });
    await client.createSender(name).sendMessages(message('slow'));
    const receiver = client.createReceiver(name, { maxAutoLockRenewalDurationInMs: 0 });
    const [got] = await take(receiver, 1);
    const before = got!.lockedUntilUtc!;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok((await receiver.renewMessageLock(got!)) > before);
    standIn.expireLocks();
    await assert.rejects(receiver.renewMessageLock(got!), code('MessageLockLost'));
  });

  it('detects duplicates by message id where it was told to', async () => {
    const name = queue({ duplicatesMs: 60_000 } as never);
    const sender = client.createSender(name);
    for (const messageId of ['a', 'a', 'b']) await sender.sendMessages({ body: messageId, messageId });
    assert.deepEqual(bodies(await take(client.createReceiver(name), 3, 100)), ['a', 'b']);
  });

  it('holds scheduled messages back, shows them, and lets go of cancelled ones', async () => {
    const name = queue();
    const sender = client.createSender(name);
    const [one, two] = await sender.scheduleMessages([message('one'), message('two')], new Date(Date.now() + 700));
    await sender.cancelScheduledMessages(two!);
    const receiver = client.createReceiver(name);
    assert.deepEqual((await receiver.peekMessages(10, { fromSequenceNumber: one! })).map(({ state }) => state), ['scheduled']);
    assert.deepEqual(bodies(await take(receiver, 1, 2_000)), ['one']);
  });

  it('forgets what has expired, or dead-letters it', async () => {
    const [drops, keeps] = [queue(), queue({ deadLettersExpired: true })];
    for (const name of [drops, keeps]) {
      await client.createSender(name).sendMessages([message('short', { timeToLive: 1 }), message('long', { timeToLive: 60_000 })]);
      await new Promise((resolve) => setTimeout(resolve, 10));
      assert.deepEqual(bodies(await take(client.createReceiver(name), 2, 100)), ['long']);
    }
    assert.deepEqual(bodies(await take(client.createReceiver(keeps, { subQueueType: 'deadLetter' }), 1)), ['short']);
    assert.deepEqual(bodies(await take(client.createReceiver(drops, { subQueueType: 'deadLetter' }), 1, 50)), []);
  });

  it('defers', async () => {
    const name = queue();
    await client.createSender(name).sendMessages(message('later'));
    const receiver = client.createReceiver(name);
    const [got] = await take(receiver, 1);
    await receiver.deferMessage(got!);
    const [again] = await receiver.receiveDeferredMessages(got!.sequenceNumber!);
    assert.equal(again!.body, 'later');
    await receiver.completeMessage(again!);
  });

  it('receives and deletes', async () => {
    const name = queue();
    await client.createSender(name).sendMessages(message('once'));
    assert.deepEqual(bodies(await take(client.createReceiver(name, { receiveMode: 'receiveAndDelete' }), 1)), ['once']);
    standIn.expireLocks();
    assert.equal((await take(client.createReceiver(name), 1, 50)).length, 0);
  });

  it('keeps the order of a session, for one receiver at a time', async () => {
    const name = queue({ requiresSession: true });
    await client.createSender(name).sendMessages(['a1', 'b1', 'a2'].map((body) => message(body, { sessionId: body[0]! })));
    const a = await client.acceptSession(name, 'a');
    await assert.rejects(client.acceptSession(name, 'a'), code('SessionCannotBeLocked'));
    const b = await client.acceptNextSession(name);
    assert.equal(b.sessionId, 'b');
    const got = await take(a, 2);
    assert.deepEqual(bodies(got), ['a1', 'a2']);
    await a.setSessionState({ n: 1 });
    await a.completeMessage(got[0]!);
    await a.close();
    const again = await client.acceptSession(name, 'a');
    assert.deepEqual([await again.getSessionState(), bodies(await take(again, 1))], [{ n: 1 }, ['a2']]);
    await assert.rejects(client.createSender(name).sendMessages(message('no session')));
    await Promise.all([again.close(), b.close()]);
  });

  it('lets a receiver wait for the next session, and tells when there is none', async () => {
    const name = queue({ requiresSession: true });
    const waiting = client.acceptNextSession(name);
    await client.createSender(name).sendMessages(message('x1', { sessionId: 'x' }));
    const session = await waiting;
    assert.deepEqual([session.sessionId, bodies(await take(session, 1))], ['x', ['x1']]);
    const hasty = sdkClient({ ...standIn });
    await assert.rejects(hasty.acceptSession(name, 'x'), code('SessionCannotBeLocked'));
    await hasty.close();
    await session.close();
  });

  it('takes a session away when its lock has run out', async () => {
    const name = queue({ requiresSession: true, lockMs: 200 });
    await client.createSender(name).sendMessages(message('x1', { sessionId: 'x' }));
    const session = await client.acceptNextSession(name, { maxAutoLockRenewalDurationInMs: 0 });
    const [got] = await take(session, 1);
    const next = await client.acceptNextSession(name);
    assert.equal((await take(next, 1))[0]!.deliveryCount, 1);
    await assert.rejects(session.completeMessage(got!), code('SessionLockLost'));
    await next.close();
  });

  describe('topics', () => {
    it('give each subscription what its rules let through, once', async () => {
      await administration.createTopic('shop');
      const first = { name: 'first', filter: { applicationProperties: { type: 'added', n: 1 } } };
      await administration.createSubscription('shop', 'narrow', { defaultRuleOptions: first });
      await administration.createRule('shop', 'narrow', 'second', { subject: 'renamed' });
      await administration.createSubscription('shop', 'wide');
      await administration.createSubscription('shop', 'sql', { defaultRuleOptions: { name: 'sql', filter: { sqlExpression: "sys.Label = 'renamed' OR type IN ('removed', 'x') AND n <> 1" } } });
      await client.createSender('shop').sendMessages([
        message(1, { applicationProperties: { type: 'added', n: 1 } }),
        message(2, { applicationProperties: { type: 'added', n: 2 } }),
        message(3, { subject: 'renamed', applicationProperties: { type: 'added', n: 1 } }),
        message(4, { applicationProperties: { type: 'removed', n: 2 } }),
      ]);
      const all = async (name: string): Promise<unknown[]> => bodies(await take(client.createReceiver('shop', name), 5, 50));
      assert.deepEqual([await all('narrow'), await all('wide'), await all('sql')], [[1, 3], [1, 2, 3, 4], [3, 4]]);
    });

    it('let rules be listed, added and removed over AMQP', async () => {
      const rules = client.createRuleManager('shop', 'narrow');
      await rules.createRule('third', { correlationId: 'c' });
      await rules.deleteRule('first');
      const found: string[] = [];
      for await (const { name } of rules.listRules()) found.push(name);
      assert.deepEqual(found, ['second', 'third']);
    });

    it('dead-letter what has no session where one is required', async () => {
      await administration.createSubscription('shop', 'ordered', { requiresSession: true });
      await client.createSender('shop').sendMessages(message('no session'));
      const { deadLetterMessageCount, activeMessageCount } = await administration.getSubscriptionRuntimeProperties('shop', 'ordered');
      assert.deepEqual([deadLetterMessageCount, activeMessageCount], [1, 0]);
    });
  });

  describe('administration', () => {
    it('creates, reads, lists, changes and removes', async () => {
      await administration.createTopic('a/topic', { requiresDuplicateDetection: true });
      await assert.rejects(administration.createTopic('A/Topic'), code('MessageEntityAlreadyExistsError'));
      await administration.createSubscription('a/topic', 'sub', { lockDuration: 'PT5S', maxDeliveryCount: 4, requiresSession: true, userMetadata: 'a & b' });
      const { lockDuration, maxDeliveryCount, requiresSession, userMetadata } = await administration.getSubscription('a/topic', 'sub');
      assert.deepEqual([lockDuration, maxDeliveryCount, requiresSession, userMetadata], ['PT5S', 4, true, 'a & b']);
      const names: string[] = [];
      for await (const { subscriptionName } of administration.listSubscriptions('a/topic')) names.push(subscriptionName);
      await administration.createRule('a/topic', 'sub', 'r', { applicationProperties: { 'cloudEvents:type': 'x' }, subject: 's' });
      const rule = await administration.getRule('a/topic', 'sub', 'r');
      assert.deepEqual([rule.name, JSON.parse(JSON.stringify(rule.filter))], ['r', { subject: 's', applicationProperties: { 'cloudEvents:type': 'x' } }]);
      const rules: string[] = [];
      for await (const { name } of administration.listRules('a/topic', 'sub')) rules.push(name);
      assert.deepEqual([names, rules], [['sub'], ['$Default', 'r']]);
      await administration.deleteRule('a/topic', 'sub', 'r');
      await administration.createQueue('a/queue', { autoDeleteOnIdle: 'PT5M' });
      await administration.updateQueue({ ...(await administration.getQueue('a/queue')), status: 'SendDisabled' });
      assert.equal((await administration.getQueue('a/queue')).status, 'SendDisabled');
      await assert.rejects(client.createSender('a/queue').sendMessages(message(1)), code('MessagingEntityDisabled'));
      await administration.deleteQueue('a/queue');
      assert.equal(await administration.queueExists('a/queue'), false);
      await administration.deleteTopic('a/topic');
      assert.equal(await administration.subscriptionExists('a/topic', 'sub'), false);
    });

    it('takes only names that Azure takes', async () => {
      const badPaths = ['a b', 'ü', 'a$b', '/a', 'a/', '-a', 'a_', 'x'.repeat(261)];
      for (const name of badPaths) await assert.rejects(administration.createQueue(name), code('ServiceError'), name);
      await administration.createQueue('x'.repeat(260));
      await administration.createTopic('named');
      for (const name of ['ü', 'a$b', 'a.', 'x'.repeat(51)]) {
        await assert.rejects(administration.createSubscription('named', name), code('ServiceError'), name);
      }
      await administration.createSubscription('named', 'x'.repeat(50));
      await assert.rejects(administration.createRule('named', 'x'.repeat(50), 'a:b', { subject: 's' }), code('ServiceError'));
    });

    it('says no to whom it was told to', async () => {
      standIn.deny(true);
      await assert.rejects(administration.createTopic('b'), code('UnauthorizedRequestError'));
    });
  });

  describe('trouble', () => {
    it('what is not there is not found, and what is removed is gone for its receivers', async () => {
      await assert.rejects(client.createSender('nowhere').sendMessages(message(1)), code('MessagingEntityNotFound'));
      const name = queue();
      const gone = Promise.withResolvers<unknown>();
      const receiver = client.createReceiver(name);
      receiver.subscribe({ processMessage: async () => {}, processError: async ({ error }) => gone.resolve((error as { code?: string }).code) });
      await client.createSender(name).sendMessages(message(1));
      await administration.deleteQueue(name);
      assert.equal(await gone.promise, 'MessagingEntityNotFound');
      await receiver.close();
    });

    it('refuses what is too large, and whatever it is told to', async () => {
      const sender = client.createSender(queue());
      await assert.rejects(sender.sendMessages(message(Buffer.alloc(300_000))), code('MessageSizeExceeded'));
      standIn.faults.refuse = () => new AmqpError('com.microsoft:server-busy', 'throttled');
      await assert.rejects(sender.sendMessages(message(1)), code('ServiceBusy'));
    });

    it('cuts connections, and clients come back', async () => {
      const name = queue();
      const sender = client.createSender(name);
      await sender.sendMessages(message(1));
      standIn.cut();
      await sender.sendMessages(message(2));
      assert.deepEqual(bodies(await take(client.createReceiver(name), 2)), [1, 2]);
    });

    it('may store without an answer, so that a message comes twice', async () => {
      const name = queue();
      let cuts = 0;
      standIn.faults.cutAt = (step) => step === 'stored' && cuts++ === 0;
      await client.createSender(name).sendMessages(message(1));
      assert.deepEqual(bodies(await take(client.createReceiver(name), 2)), [1, 1]);
    });

    it('detaches links whose token has expired, and takes them back with a new one', async () => {
      const name = queue();
      const sender = client.createSender(name);
      await sender.sendMessages(message(1));
      standIn.expireTokens();
      await sender.sendMessages(message(2));
      assert.deepEqual(bodies(await take(client.createReceiver(name), 2)), [1, 2]);
    });
  });

  it('keeps what it accepted over kill -9, with its counts, sessions and entities', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'waybill-azure-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const start = async () => {
      const child = fork(join(import.meta.dirname, 'stand-in/main.ts'), [JSON.stringify({ file: join(folder, 'azure.db') })], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
      const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
      return { child, place: JSON.parse(line) as StandIn };
    };
    const first = await start();
    const before = sdkClient(first.place);
    await sdkAdministration(first.place).createTopic('topic');
    await sdkAdministration(first.place).createSubscription('topic', 'sub', { requiresSession: true });
    await before.createSender('topic').sendMessages(['a', 'b', 'c'].map((body) => message(body, { sessionId: 'x' })));
    const session = await before.acceptSession('topic', 'sub', 'x');
    const [a, b] = await take(session, 3);
    await session.completeMessage(a!);
    await session.abandonMessage(b!);
    await session.setSessionState('held');
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    await before.close().catch(() => {});
    const second = await start();
    const later = sdkClient(second.place);
    const again = await later.acceptSession('topic', 'sub', 'x');
    const got = await take(again, 2);
    assert.deepEqual([bodies(got), got[0]!.deliveryCount, await again.getSessionState()], [['b', 'c'], 1, 'held']);
    await later.close();
    second.child.kill('SIGTERM');
    await once(second.child, 'exit');
  });
});

it('an entity gives nothing to a link that has gone with another one of its connection', async (t) => {
  const entity = new Entity('a', { ...defaults, requiresSession: true }, nowhere);
  t.after(() => entity.close());
  const given: string[] = [];
  const connection: Taker[] = [];
  const accept = (session: string, give: () => void): void => {
    const taker: Taker = { session, wants: () => true, give, destructive: false, served() {}, end() {} };
    entity.takers.add(taker);
    entity.acceptSession(session, taker);
    connection.push(taker);
  };
  for (const session of ['1', '2']) {
    accept(session, () => {
      given.push(session);
      for (const taker of connection) entity.leave(taker); // cut at the delivery
    });
    entity.put({ seq: Number(session), message: { group_id: session } as never, enqueuedMs: 0, state: 'active', count: 0 });
  }
  await new Promise((resolve) => void setImmediate(resolve));
  assert.deepEqual(given, ['1']);
  const free: string[] = [];
  for (let i = 0; i < 2; i++) entity.nextSession(1_000, (id) => free.push(id) && entity.acceptSession(id, connection[0]!), () => {});
  assert.deepEqual(free.toSorted(), ['1', '2']);
});
