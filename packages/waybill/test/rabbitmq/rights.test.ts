/** Who may connect, and what he may do: TLS, mutual TLS, virtual hosts, permissions on names and on routing keys. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import { heartbeatType } from '../../src/contract/control.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { TransportSession } from '../../src/contract/transport.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { labels, message } from '../../src/testing/conformance/message.ts';
import { to } from '../../src/testing/conformance/transport/world.ts';
import { rabbitmq, type RabbitOptions } from '../../src/transports/rabbitmq/index.ts';
import { needs } from '../../../../test/support/needs.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { freePort, rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip } = needs('rabbitmq');
const prices = to('basket.prices');
const denied = (error: unknown): boolean => WaybillError.is(error, 'TRANSPORT_DENIED');

describe('at RabbitMQ', { skip }, () => {
  let server: RabbitServer;
  let certificates: Certificates;
  let tlsPort: number;
  const open: TransportSession[] = [];
  const file = (name: string): string => certificates.read(name);
  const connect = async (service: string, url: string, options: RabbitOptions = {}): Promise<TransportSession> => {
    const host = recordingHost(service, systemClock());
    const session = await rabbitmq(url, { settleMs: 0, ...options }).connect({ ...host, store: await memory().open(host) });
    open.push(session);
    return session;
  };
  const roundTrip = async (session: TransportSession): Promise<void> => {
    await session.declare(prices);
    await session.send([message('a')]);
    const consumer = await session.consume(prices);
    const got = await consumer.receive(1, { waitMs: 5_000, signal: new AbortController().signal });
    assert.deepEqual(labels(got), ['a']);
    await consumer.settle(got);
  };

  before(async () => {
    certificates = makeCertificates();
    tlsPort = await freePort();
    server = await rabbitServer([
      `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
      `ssl_options.cacertfile = ${certificates.folder}/ca.pem`,
      `ssl_options.certfile = ${certificates.folder}/server.pem`,
      `ssl_options.keyfile = ${certificates.folder}/server.key`,
      'ssl_options.verify = verify_peer',
      'ssl_options.fail_if_no_peer_cert = true',
    ]);
  });
  after(async () => {
    await Promise.all(open.map((session) => session.close()));
    await server.close();
    certificates.close();
  });

  it('a client with a certificate gets in over TLS; one without, or who does not know the authority, does not', async () => {
    const url = `amqps://guest:guest@localhost:${tlsPort}/`;
    const [ca, cert, key] = [file('ca.pem'), file('client.pem'), file('client.key')];
    await roundTrip(await connect('basket', url, { system: 'tls', tls: { ca, cert, key } }));
    await assert.rejects(connect('basket', url, { tls: { ca } }), (error) => WaybillError.is(error, 'TRANSPORT_UNREACHABLE'), 'without a certificate');
    await assert.rejects(connect('basket', url, { tls: { cert, key } }), (error) => WaybillError.is(error, 'TRANSPORT_UNREACHABLE'), 'an authority that nobody knows');
  });

  it('systems in two virtual hosts do not meet', async () => {
    await server.ctl('add_vhost', 'other');
    await server.ctl('set_permissions', '-p', 'other', 'guest', '.*', '.*', '.*');
    const [here, there] = [await connect('basket', server.url), await connect('basket', server.urlOf({ vhost: 'other' }))];
    await Promise.all([roundTrip(here), roundTrip(there)]);
  });

  it('the permissions of docs/rabbitmq.md suffice for one service, and for nothing else', async () => {
    const docs = readFileSync(new URL('../../../../docs/rabbitmq.md', import.meta.url), 'utf8');
    for (const line of docs.split('\n').filter((one) => one.startsWith('rabbitmqctl '))) {
      const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
      await server.ctl(...words.slice(1));
    }
    const url = server.urlOf({ user: 'basket', password: 'secret', vhost: 'shop' });
    const guest = server.urlOf({ vhost: 'shop' });
    await server.ctl('set_permissions', '-p', 'shop', 'guest', '.*', '.*', '.*');
    const catalog = await connect('catalog', guest);
    const basket = await connect('basket', url);
    await basket.declare(prices);
    await basket.declare(to('basket.ordered', { order: 'by-key' }));
    await catalog.send([message('from catalog', { key: 'x' })]);
    for (const declaration of [prices, to('basket.ordered', { order: 'by-key' })]) {
      const consumer = await basket.consume(declaration);
      const got = await consumer.receive(1, { waitMs: 5_000, signal: new AbortController().signal });
      assert.deepEqual(labels(got), ['from catalog'], declaration.name);
      await consumer.settle(got);
    }
    const { address } = await catalog.listen(() => {});
    const own = message('own', { type: 'basket.changed.v1' });
    const command = message('command', { kind: 'command', type: 'catalog.do.v1', recipient: 'catalog' });
    const reply = message('reply', { kind: 'reply', recipient: address });
    assert.deepEqual((await basket.send([own, command, reply])).map(({ kind }) => kind), ['unroutable', 'unroutable', 'stored']);
    const beat = (source: string) => basket.send([message('beat', { type: heartbeatType, source })]);
    assert.deepEqual(await beat('basket'), [{ kind: 'stored' }], 'its own instance hears it');
    await assert.rejects(beat('catalog'), denied, "another service's heartbeat");
    await assert.rejects(basket.send([message('forged', { type: 'catalog.price-changed.v1' })]), denied, "another service's event");
    await basket.remove('basket.prices', 'drop');
    await assert.rejects(connect('catalog', url), denied, 'as another service');
    await assert.rejects(connect('basket', server.urlOf({ user: 'basket', password: 'secret' })), denied, 'in another virtual host');
  });
});
