/** Trouble at RabbitMQ, and clients that do not tell of it. */
import assert, { AssertionError } from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import amqplib from 'amqplib';
import { systemClock } from '../../src/contract/clock.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { AmqpConnection } from '../../src/transports/rabbitmq/client.ts';
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts';
import { needs } from '../../../../test/support/needs.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';
import { sabotaged, troubleCases, type TroubleSabotage, troubleSabotages, type TroubleWorld } from './trouble.ts';

const { skip } = needs('rabbitmq');

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
          count++;
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

  for (const { name } of troubleCases) it(name, () => run(name));

  for (const { name, breaks, ...sabotage } of troubleSabotages) {
    for (const broken of breaks) {
      it(`a client that ${name} is noticed: ${broken}`, async () => {
        await assert.rejects(run(broken, { ...sabotage, patienceMs: 8_000 }), (error) => error instanceof AssertionError || assert.fail(`it ended by something else than its assertion: ${String(error)}`));
      });
    }
  }

  it('every case is noticed to fail', () => {
    const broken = new Set(troubleSabotages.flatMap(({ breaks }) => breaks));
    assert.deepEqual(troubleCases.filter(({ name }) => !broken.has(name)), []);
  });
});
