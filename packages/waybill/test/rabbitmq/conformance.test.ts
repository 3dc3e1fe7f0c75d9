import { after, before, describe, it } from 'node:test';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { transportCases } from '../../src/testing/conformance/transport/cases.ts';
import { needs } from '../../../../test/support/needs.ts';
import { faultProxy, type FaultProxy } from '../support/fault-proxy.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';
import { messageBytesMax, overRabbitmq } from './over-rabbitmq.ts';

const { skip } = needs('rabbitmq');

describe('transport conformance: rabbitmq', { skip, concurrency: true }, () => {
  let server: RabbitServer;
  before(async () => {
    server = await rabbitServer([`max_message_size = ${messageBytesMax}`]);
  });
  after(() => server.close());

  for (const queues of ['quorum', 'classic'] as const) {
    // Several at once: most of the time goes by in waiting for nothing to come.
    describe(queues, { concurrency: 12 }, () => {
      for (const subject of transportCases) {
        it(subject.name, async (t) => {
          const proxy: FaultProxy = await faultProxy(server.port);
          try {
            const skipped = await runCase(subject, overRabbitmq(server, proxy, queues));
            if (skipped !== undefined) t.skip(skipped);
          } finally {
            await proxy.close();
          }
        });
      }
    });
  }
});
