import type { TransportHost, TransportSession } from '../../contract/transport.ts';
import { sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { AzureAdministration, AzureClient } from './client.ts';
import { Clients } from './clients.ts';
import { AzureConsumer } from './consumer.ts';
import { examine } from './examine.ts';
import { namesWith } from './names.ts';
import { Publisher } from './publisher.ts';
import { listen } from './replies.ts';
import { Topology } from './topology.ts';
import { doing } from './trouble.ts';

export interface SessionOptions {
  readonly client: AzureClient;
  readonly administration: AzureAdministration | undefined;
  /** How clients are made; undefined where the client is the user's: it does all, and stays open. */
  readonly make: Make | undefined;
  /** How long an answer may take, and a link may be silent before it is asked after, in milliseconds. */
  readonly timeoutMs: number;
  readonly prefix: string;
  readonly lockMs: number;
}

export interface Make {
  /** One that does as `client`. */
  client(): AzureClient;
  /** One whose operations end soon, for accepting sessions. */
  acceptor(): AzureClient;
  /** An accept takes no longer, unless it stands still. */
  readonly acceptMaxMs: number;
}

/** An accept that is under way when the session closes is waited for: the SDK would keep the process alive for a minute. */
const quietMaxMs = 3_000;

/** One bus at the namespace: remembers what it opened there, so that closing it gives all of it back. */
export async function openSession(options: SessionOptions, host: TransportHost): Promise<TransportSession> {
  const { client, make, lockMs, timeoutMs: silentMs } = options;
  const { service, clock, signals, logger } = host;
  const names = namesWith(options.prefix);
  const administration = host.migrate === 'check' ? undefined : options.administration;
  const clients = new Clients(client, make?.client, clock);
  const topology = new Topology({ service, clients, administration, names, lockMs, clock, warn: (text) => logger.warn({ service }, text) });
  const publisher = new Publisher({ client: make?.client() ?? client, another: make?.client, names, clock, openMaxMs: silentMs });
  const opened = new Set<{ close(): Promise<void> }>();
  const consumers: AzureConsumer[] = [];
  let accepting: Clients | undefined;
  const acceptors = (): Clients => (accepting ??= make ? new Clients(make.acceptor(), make.acceptor, clock) : clients);
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
    await within(quietMaxMs, Promise.all([clients.close(), accepting?.close()]));
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
      const ground = { clients, acceptors: declaration.order === 'by-key' ? acceptors() : clients, acceptMaxMs: make?.acceptMaxMs ?? Infinity, silentMs, lockMs };
      const consumer = new AzureConsumer({ declaration, ...ground, topology, clock, signals, warn: (details, text) => logger.warn(details, text) }, moved);
      consumers.push(consumer);
      return keep(consumer);
    },
    async listen(deliver) {
      check();
      return keep(await listen({ queue: names.replies(service, clock.id()), clients, silentMs, topology, clock, signals, deliver }));
    },
    async remove(name, queued) {
      check();
      await topology.remove(name, queued, ended.signal);
    },
    async examine() {
      check();
      const places = [...topology.declared].flatMap(([name, all]) => all.map((place) => [name, place] as const));
      const found = await doing('examining what was declared', () => Promise.all(places.map(([name, place]) => examine(place, name, clients.current))));
      return found.flat();
    },
    close() {
      ended.abort();
      closing ??= end();
      return closing;
    },
  };
}
