/** Trouble at RabbitMQ, and clients that do not tell of it. */
import assert, { AssertionError } from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import { createBus } from 'waybill';
import { systemClock } from '../../src/contract/clock.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { AmqpConnection } from '../../src/transports/rabbitmq/client.ts';
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts';
import { needs } from '../../../../test/support/needs.ts';
import { Priced } from '../support/contracts.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';
import { sabotaged, troubleCases, type TroubleSabotage, troubleSabotages, type TroubleWorld } from './trouble.ts';

const { skip } = needs('rabbitmq');
const silent = { debug() {}, info() {}, warn() {}, error() {} };

describe('when RabbitMQ is in trouble', { skip }, () => {
  let server: RabbitServer;
  let systems = 0;
  before(async () => {
    server = await rabbitServer();
  });
  after(() => server?.close());

  async function run(name: string, { connection, channel, patienceMs = 30_000 }: Pick<TroubleSabotage, 'connection' | 'channel'> & { patienceMs?: number } = {}): Promise<void> {
    const sessions: { close(): Promise<void> }[] = [];
    const system = `trouble${systems++}`;
    let count = 0;
    const { promise: blocked, resolve: block } = Promise.withResolvers<void>();
    const dial = async (): Promise<AmqpConnection> => {
      const honest = (await amqplib.connect(server.url, { noDelay: true })) as unknown as AmqpConnection;
      honest.on('error', () => {});
      honest.on('blocked', () => block());
      const counting = (opened: Parameters<NonNullable<TroubleSabotage['channel']>>[0]) => ({
        publish(...given: Parameters<typeof opened.publish>) {
          if (!given[1].startsWith('queue.')) count++; // an instance's echo
          return opened.publish(...given);
        },
        ...channel?.(opened),
      });
      return sabotaged(honest, { channel: counting, ...(connection && { connection }) });
    };
    const world: TroubleWorld = {
      server,
      system,
      blocked,
      patienceMs,
      handedOver: () => count,
      async connect(service) {
        const host = recordingHost(service, systemClock());
        const session = await rabbitmq(dial, { system, settleMs: 0 }).connect({ ...host, store: await memory().open(host) });
        sessions.push(session);
        return session;
      },
    };
    try {
      await troubleCases.find((one) => one.name === name)!.run(world);
    } finally {
      await Promise.all(sessions.map((session) => session.close()));
    }
  }

  for (const alone of [false, true]) {
    describe(alone ? 'that is the whole broker’s' : 'that is of a few queues', { concurrency: !alone }, () => {
      const here = troubleCases.filter((one) => (one.alone ?? false) === alone).map(({ name }) => name);
      for (const name of here) it(name, () => run(name));

      for (const { name, breaks, ...sabotage } of troubleSabotages) {
        for (const broken of breaks.filter((one) => here.includes(one))) {
          it(`a client that ${name} is noticed: ${broken}`, async () => {
            await assert.rejects(run(broken, { ...sabotage, patienceMs: 8_000 }), (error) => error instanceof AssertionError || assert.fail(`it ended by something else than its assertion: ${String(error)}`));
          });
        }
      }
    });
  }

  it('a handler that takes longer than the consumer time-out has its effect once', async (t) => {
    await server.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 300).');
    t.after(() => server.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000).'));
    const system = `trouble${systems++}`;
    const bus = createBus({ service: 'desk', store: 'sqlite::memory:', transport: rabbitmq(server.url, { system, settleMs: 0 }), logger: silent });
    t.after(() => bus.stop());
    const runs: string[] = [];
    const effects: string[] = [];
    const both = Promise.withResolvers<void>();
    bus.on('applied', ({ id }) => {
      effects.push(id);
      if (new Set(effects).size === 2) both.resolve();
    });
    bus.subscribe(Priced, async (_, { message }) => {
      runs.push(message.id);
      if (message.id === 'slow') await sleep(3_000);
    });
    await bus.start();
    const again = new Promise<void>((resolve) => bus.on('duplicate', () => resolve()));
    await bus.publish(Priced, { id: 'a', price: 1, revision: 1 }, { id: 'slow' });
    await again; // it was applied, and the broker gave it again
    await bus.publish(Priced, { id: 'a', price: 1, revision: 2 }, { id: 'quick' });
    await both.promise;
    assert.deepEqual([runs, effects], [['slow', 'quick'], ['slow', 'quick']]);
  });

  it('every case is noticed to fail', () => {
    const broken = new Set(troubleSabotages.flatMap(({ breaks }) => breaks));
    assert.deepEqual(troubleCases.filter(({ name }) => !broken.has(name)), []);
  });
});
