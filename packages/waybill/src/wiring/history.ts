/** What publishers have sent: asked of them over the transport, and answered to those who ask this service. */
import type { Clock } from '../contract/clock.ts';
import { controlMessage, historyQueue, historyType } from '../contract/control.ts';
import { WaybillError } from '../contract/errors.ts';
import type { History, HistoryPage, HistoryQuery } from '../contract/history.ts';
import type { StoreSession } from '../contract/store.ts';
import type { Declaration, TransportSession } from '../contract/transport.ts';
import { cloudEvents } from '../formats/cloudevents.ts';
import type { Publish } from '../publish/publish.ts';
import { type Requests, writeReply } from '../publish/requests.ts';
import { type HistoryDesk, createHistoryDesk, readPage } from '../relay/history.ts';
import type { Link } from './link.ts';

/** An answer with a page of history; asked again after it. */
const historyMaxMs = 10_000;

export interface HistoryExchange {
  /** Asks a service for a page of what it has sent. */
  read(source: string, query: HistoryQuery): Promise<HistoryPage>;
  history(): History;
  /** Answers those who ask this service; does nothing when somebody else answers for it. */
  open(session: TransportSession): Promise<void>;
  stop(): Promise<void>;
}

export interface HistoryExchangeOptions {
  readonly service: string;
  readonly clock: Clock;
  readonly link: Link;
  readonly requests: Requests;
  readonly publish: Publish;
  readonly stopping: AbortSignal;
  readonly store: () => StoreSession;
  readonly replyAddress: () => Promise<string>;
  /** The services that the subscriptions have heard of. */
  readonly heardOf: () => readonly string[];
  readonly trouble: (where: string, error: unknown) => void;
}

/** The queue of those who ask a service for what it has sent. */
export function historyDeclaration(service: string): Declaration {
  return { name: historyQueue(service), bindings: [{ type: historyType, kind: 'command' }], order: 'any', from: 'now', formerly: [] };
}

export function createHistoryExchange(options: HistoryExchangeOptions): HistoryExchange {
  const { service, clock, link, requests, publish, stopping } = options;
  let desk: HistoryDesk | undefined;

  const read = async (source: string, query: HistoryQuery): Promise<HistoryPage> => {
    const session = await link.connected();
    if (!session) throw new WaybillError('STOPPED', 'the bus was stopped');
    const id = clock.id();
    const base = { kind: 'command', id, source: service, type: historyType, time: new Date(clock.now()), correlationId: id, headers: {} } as const;
    const ask = controlMessage(cloudEvents, { ...base, recipient: source, replyTo: await options.replyAddress() }, JSON.stringify(query));
    const reply = requests.wait(id, `the history of ${source}`, historyMaxMs, stopping);
    reply.catch(() => {}); // heard below
    const [outcome] = await session.send([ask]);
    if (outcome?.kind !== 'stored') throw new WaybillError('UNROUTABLE', `no queue takes a request for the history of '${source}'`);
    const page = readPage(await reply);
    if (!page) throw new WaybillError('REPLY_FAILED', `the history of '${source}' cannot be read`);
    return page.fewer === undefined ? page : read(source, { ...query, max: page.fewer });
  };

  return {
    read,
    history: () => link.session()?.history ?? { read, sources: async () => options.heardOf() },
    async open(session) {
      const { outbox } = options.store().ports;
      if (desk || !outbox.history || session.capabilities.publishesAtCommit || session.history) return;
      const declaration = historyDeclaration(service);
      await session.declare(declaration);
      desk = createHistoryDesk({
        consumer: await session.consume(declaration),
        history: (query) => outbox.history!(query),
        clock,
        trouble: (error) => options.trouble('answering for the history', error),
        async answer(delivery, page) {
          const { envelope, json } = cloudEvents.decode(delivery.headers, delivery.body);
          const query = JSON.parse(json) as HistoryQuery;
          const valid = Array.isArray(query.types) && Number.isSafeInteger(query.max) && query.max > 0 && envelope.replyTo !== undefined;
          if (valid) await session.send([publish.reply(envelope, writeReply({ ok: true, json: await page(query) }))]);
        },
      });
      desk.start();
    },
    stop: async () => desk?.stop(),
  };
}
