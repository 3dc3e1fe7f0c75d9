import type { TransportHost, TransportSession } from '../../contract/transport.ts';
import { sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { AzureAdministration, AzureClient } from './client.ts';
import { AzureConsumer } from './consumer.ts';
import { namesWith } from './names.ts';
import { Publisher } from './publisher.ts';
import { listen } from './replies.ts';
import { Topology } from './topology.ts';
import { doing } from './trouble.ts';

export interface SessionOptions {
  readonly client: AzureClient;
  readonly administration: AzureAdministration | undefined;
  /** Another one, for accepting sessions; made when it is needed. */
  readonly acceptor: () => AzureClient;
  /** A client of the publisher's own, and the next one when that has failed; undefined where the client is the user's. */
  readonly another: (() => AzureClient) | undefined;
  /** Whether closing the session closes the clients. */
  readonly ownsClients: boolean;
  readonly prefix: string;
  readonly lockMs: number;
}

/** An accept that is under way when the session closes is waited for: the SDK would keep the process alive for a minute. */
const quietMaxMs = 3_000;

/** One bus at the namespace: remembers what it opened there, so that closing it gives all of it back. */
export async function openSession(options: SessionOptions, host: TransportHost): Promise<TransportSession> {
  const { client, lockMs } = options;
  const { service, clock, signals, logger } = host;
  const names = namesWith(options.prefix);
  const administration = host.migrate === 'check' ? undefined : options.administration;
  const topology = new Topology({ service, client, administration, names, lockMs, clock, warn: (text) => logger.warn({ service }, text) });
  const publisher = new Publisher(options.another?.() ?? client, names, options.another);
  const opened = new Set<{ close(): Promise<void> }>();
  const consumers: AzureConsumer[] = [];
  let accepting: AzureClient | undefined;
  const acceptor = (): AzureClient => (accepting ??= options.acceptor());
  const ended = new AbortController();

  const check = (): void => {
    if (ended.signal.aborted) throw new WaybillError('STOPPED', 'Azure Service Bus: this session was closed');
  };
  const keep = <T extends { close(): Promise<void> }>(one: T): T => {
    opened.add(one);
    return one;
  };
  const end = async (): Promise<void> => {
    await Promise.all([...opened].map((one) => one.close()));
    await within(quietMaxMs, Promise.all([publisher.close(), ...consumers.map((consumer) => consumer.quiet())]));
    if (options.ownsClients) await within(quietMaxMs, Promise.all([client.close(), accepting?.close()]));
  };
  /** With the broker away the SDK takes a minute to close what it had open. */
  const within = async (maxMs: number, work: Promise<unknown>): Promise<void> => {
    const limit = new AbortController();
    await Promise.race([work.catch(() => {}), sleep(clock, maxMs, limit.signal)]);
    limit.abort();
  };
  let closing: Promise<void> | undefined;

  await topology.open();
  return {
    capabilities: { publishesAtCommit: false },
    async declare(declaration) {
      check();
      await topology.declare(declaration);
    },
    async send(messages) {
      check();
      return publisher.send(messages);
    },
    async consume(declaration) {
      check();
      const moved = declaration.formerly.length === 0 ? undefined : await doing(`consuming ${declaration.name}`, () => topology.movedTo(declaration.name));
      const consumer = new AzureConsumer({ declaration, client, acceptor: declaration.order === 'by-key' ? acceptor() : client, topology, clock, signals }, moved);
      consumers.push(consumer);
      return keep(consumer);
    },
    async listen(deliver) {
      check();
      return keep(await listen({ queue: names.replies(service, clock.id()), client, topology, clock, signals, deliver }));
    },
    async remove(name, queued) {
      check();
      await topology.remove(name, queued, ended.signal);
    },
    close() {
      ended.abort();
      closing ??= end();
      return closing;
    },
  };
}
