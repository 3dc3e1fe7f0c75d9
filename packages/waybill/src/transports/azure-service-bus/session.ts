import type { TransportHost, TransportSession } from '../../contract/transport.ts';
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
  /** Whether closing the session closes the client. */
  readonly ownsClient: boolean;
  readonly prefix: string;
  readonly lockMs: number;
}

/** One bus at the namespace: remembers what it opened there, so that closing it gives all of it back. */
export async function openSession(options: SessionOptions, host: TransportHost): Promise<TransportSession> {
  const { client, lockMs } = options;
  const { service, clock, signals, logger } = host;
  const names = namesWith(options.prefix);
  const administration = host.migrate === 'check' ? undefined : options.administration;
  const topology = new Topology({ service, client, administration, names, lockMs, clock, warn: (text) => logger.warn({ service }, text) });
  const publisher = new Publisher(client, names);
  const opened = new Set<{ close(): Promise<void> }>();
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
    await publisher.close();
    if (options.ownsClient) await client.close().catch(() => {});
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
      return keep(new AzureConsumer({ declaration, client, topology, clock, signals }, moved));
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
