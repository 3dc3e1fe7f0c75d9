/**
 * Joins the rooms. A message's way: publish → outbox → (relay →) transport ═► transport → inbox → handle → publish …
 *
 * Opened by the first publish or by start: store, then transport. Started: subscriptions, relay, mover, retention.
 * Stopped the other way round: take no more, finish what runs, send what was committed, close what was opened.
 */
import type { Middleware } from './contract/api.ts';
import type { Clock } from './contract/clock.ts';
import { controlMessage, heartbeatType } from './contract/control.ts';
import { WaybillError, asError } from './contract/errors.ts';
import type { Plan } from './contract/handling.ts';
import type { History } from './contract/history.ts';
import type { Annex, AnnexGround, TopologyAtBroker } from './contract/internals.ts';
import type { WireMessage } from './contract/message.ts';
import type { SagaDefinition } from './contract/saga.ts';
import type { Logger, Signals } from './contract/signals.ts';
import type { Host, MaybePromise, Store, StoreSession } from './contract/store.ts';
import type { Transport, TransportSession } from './contract/transport.ts';
import { embeddedDirectory, loadStore, loadTransport } from './drivers.ts';
import { cloudEvents } from './formats/cloudevents.ts';
import { createDecode } from './handle/decode.ts';
import { createReplays } from './inbox/replays.ts';
import type { RunningSubscription } from './inbox/subscription.ts';
import type { checkOptions } from './options.ts';
import { type Publish, createPublish } from './publish/publish.ts';
import { type Requests, createRequests } from './publish/requests.ts';
import { type Scopes, createScopes } from './publish/scope.ts';
import { createUnreadWatch } from './publish/unread.ts';
import { type Relay, createRelay } from './relay/relay.ts';
import type { RunningSaga } from './saga/saga.ts';
import { createHistoryExchange } from './wiring/history.ts';
import { createLink } from './wiring/link.ts';
import { createReplies } from './wiring/replies.ts';
import { createReplyAddress } from './wiring/reply-address.ts';
import { type OpenRooms, type Rooms, openRooms } from './wiring/rooms.ts';
import { createSubscriptions } from './wiring/subscriptions.ts';
import { createTopologyDesk } from './wiring/topology.ts';
import { acceptedOf, refuseIncapable, refuseUnsafe } from './wiring/unsafe.ts';

/** What a bus runs on; tests bring their own clock and wrap drivers. */
export interface Ground {
  readonly clock: Clock;
  readonly signals: Signals;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Tells this instance of the service from the others; a test bus goes on as the same one after a crash. */
  readonly instance?: string;
  readonly wrapStore?: (session: StoreSession) => StoreSession;
  readonly wrapTransport?: (session: TransportSession) => TransportSession;
}

export interface Wiring {
  readonly publish: Publish;
  readonly scopes: Scopes;
  readonly requests: Requests;
  readonly middleware: Middleware[];
  /** At once when they are open. */
  rooms(): MaybePromise<Rooms>;
  add(plan: Plan): RunningSubscription;
  /** A saga as handlers of the subscription of this full name. */
  saga(definition: SagaDefinition, name: string, formerly: readonly string[]): RunningSaga;
  sagas(): ReadonlyMap<string, SagaDefinition>;
  start(): Promise<void>;
  stop(drainMs: number): Promise<void>;
  wake(): void;
  transportUp(): boolean;
  /** Undefined while the broker is away. */
  transport(): TransportSession | undefined;
  readonly topology: TopologyAtBroker;
  /** What ails the slot of relay mode `log`, as far as this instance reads it. */
  slotTrouble(): string | undefined;
  inFlight(): number;
  /** What publishers have sent, as far as they can be asked. */
  history(): History;
  /** Starts and stops with the bus. */
  attach(make: (ground: AnnexGround) => Annex): void;
  annexes(): readonly Annex[];
  subscriptions(): readonly RunningSubscription[];
  subscription(name: string): RunningSubscription | undefined;
  /** One that says of this plan's name that it was once its own, or the other way round. */
  rival(plan: Plan): RunningSubscription | undefined;
}

export function createWiring(options: ReturnType<typeof checkOptions<any>>, ground: Ground): Wiring {
  const { clock, signals, logger } = ground;
  const { service } = options;
  const middleware: Middleware[] = [];
  const stopping = new AbortController();
  const annexes: Annex[] = [];
  const trouble = (where: string, error: unknown): void => signals.emit('trouble', { where, error });
  const host: Host = { service, clock, signals, logger, migrate: options.migrate };

  let opening: Promise<OpenRooms> | undefined;
  let opened: OpenRooms | undefined;
  let starting: Promise<void> | undefined;
  let relay: Relay | undefined;
  let slotTrouble: string | undefined;

  const accepted = acceptedOf(options.accept, ground.env);
  const driver: { store?: Promise<Store>; transport?: Promise<Transport> } = {};
  const storeDriver = (): Promise<Store> => (driver.store ??= loadStore(options, ground.env));
  const transportDriver = (): Promise<Transport> => (driver.transport ??= loadTransport(options, ground.env));

  const link = createLink({ clock, signals, stopping: stopping.signal });
  const scopes = createScopes();
  const noticeUnread = createUnreadWatch({ clock, signals, isTaken: (type) => link.session()?.isTaken?.(type) });
  const publish = createPublish({ service, clock, signals, format: cloudEvents, middleware, propagate: options.propagate, hopsMax: options.hopsMax, noticeUnread });
  const requests = createRequests({ clock, signals });
  const replyAddress = createReplyAddress({ link, requests, trouble });
  const exchange = createHistoryExchange({
    service,
    clock,
    link,
    requests,
    publish,
    stopping: stopping.signal,
    trouble,
    store: () => opened!.store,
    replyAddress: async () => (await rooms()).replyAddress(),
    heardOf: () => [...new Set(subscriptions.all().flatMap((one) => one.progress().sources.map(({ source }) => source)))],
  });
  const subscriptions = createSubscriptions({
    service,
    hopsMax: options.hopsMax,
    instance: ground.instance ?? clock.id(),
    clock,
    signals,
    logger,
    middleware,
    link,
    publish,
    scopes,
    replies: createReplies({ publish, clock }),
    exchange,
    stopping: stopping.signal,
    rooms: () => opened!,
    starting: () => starting,
    trouble,
  });

  if (options.relay === 'log') {
    signals.on('log-slot', ({ state, error }) => {
      const well = state === 'created' || state === 'streaming';
      slotTrouble = well ? undefined : error === undefined ? state : `${state}: ${asError(error).message}`;
    });
  }

  // --- opening --------------------------------------------------------------------------------------------------------

  const open = async (): Promise<OpenRooms> => {
    const [from, to] = await Promise.all([storeDriver(), transportDriver()]); // a wrong URL shows before anything is opened
    const directory = embeddedDirectory(options, ground.env);
    if (directory !== undefined) logger.info({ directory }, `the embedded default is in use, in ${directory}`);
    let store = await from.open(host);
    if (ground.wrapStore) store = ground.wrapStore(store);
    try {
      await link.connect(async () => {
        const session = await to.connect({ ...host, store });
        return ground.wrapTransport ? ground.wrapTransport(session) : session;
      });
    } catch (error) {
      await store.close();
      throw error;
    }
    opened = openRooms(store, {
      service,
      horizonMs: options.horizonMs,
      requireTransaction: options.requireTransaction ?? from.fromClient,
      clock,
      signals,
      link,
      scopes,
      subscriptions,
      history: exchange.history,
      relay: () => relay,
      replyAddress: replyAddress.get,
      wake,
      trouble,
    });
    return opened;
  };

  const rooms = (): MaybePromise<OpenRooms> => {
    if (opened) return opened;
    if (stopping.signal.aborted) {
      return Promise.reject(new WaybillError('STOPPED', 'the bus was stopped; create another one'));
    }
    opening ??= open().catch((error: unknown) => {
      opening = undefined; // the next call tries again
      throw error;
    });
    return opening;
  };

  // --- life -----------------------------------------------------------------------------------------------------------

  const wake = (): void => {
    for (const subscription of subscriptions.all()) subscription.wake();
    for (const annex of annexes) annex.wake();
    opened?.mover.wake();
    opened?.schedules.loop.wake();
    relay?.wake();
  };

  const attach = (make: (ground: AnnexGround) => Annex): void => {
    const annex = make({
      clock,
      signals,
      logger,
      store: async () => (await rooms()).store,
      within: (tx, work) => scopes.run({ kind: 'transaction', tx, cause: undefined }, work),
      isInside: () => scopes.current() !== undefined,
    });
    annexes.push(annex);
    if (starting) void starting.then(() => annex.start()).catch(() => {}); // whoever started the bus hears of it
  };

  const openHistory = async (session: TransportSession): Promise<void> => {
    try {
      await exchange.open(session);
    } catch (error) {
      trouble('opening the queue for those who ask for the history', error);
      void link.keepTrying(() => exchange.open(session), () => {});
    }
  };

  const heartbeat = (untilMs: number): WireMessage => {
    const id = clock.id();
    return controlMessage(cloudEvents, { kind: 'event', id, source: service, type: heartbeatType, time: new Date(untilMs), correlationId: id, headers: {} }, '{}');
  };

  const startRelay = (session: TransportSession, store: StoreSession): void => {
    const { sendsMax } = session.capabilities;
    relay ??= createRelay({
      outbox: store.ports.outbox,
      send: (messages) => session.send(messages),
      ...(sendsMax !== undefined && { sendsMax }),
      owner: clock.id(),
      clock,
      signals,
      log: options.relay === 'log',
      heartbeat,
    });
    relay.start();
  };

  const start = async (): Promise<void> => {
    const open = await rooms();
    const { store } = open;
    refuseIncapable(store, { sagas: subscriptions.sagas().keys(), readsLog: options.relay === 'log' });
    await refuseUnsafe([store, link.session()], accepted, (error) => trouble('looking at what this bus runs on', error));
    const first = subscriptions.all();
    const whenConnected = async (session: TransportSession | undefined, when: 'at start' | 'late'): Promise<void> => {
      if (!session || stopping.signal.aborted) return;
      if (!session.capabilities.publishesAtCommit && options.relay !== 'off') startRelay(session, store);
      // Together: a broker lets each new queue settle for seconds.
      await Promise.all([options.relay === 'off' ? undefined : openHistory(session), ...first.map((subscription) => subscriptions.start(session, subscription, when))]);
    };
    const session = link.session();
    if (session) await whenConnected(session, 'at start');
    else void link.connected().then((late) => whenConnected(late, 'late')).catch((error: unknown) => trouble('starting the subscriptions', error));
    open.losses.start();
    if (options.relay !== 'off') {
      open.mover.start();
      open.schedules.loop.start();
    }
    open.retention.start();
    for (const annex of annexes) annex.start();
  };

  const stop = async (drainMs: number): Promise<void> => {
    stopping.abort();
    await opening?.catch(() => {});
    await starting?.catch(() => {});
    await opened?.retention.stop();
    await opened?.losses.stop();
    await Promise.all([...subscriptions.all(), ...annexes].map((one) => one.stop(drainMs)));
    await exchange.stop();
    await opened?.schedules.loop.stop();
    await opened?.mover.stop();
    await relay?.stop(drainMs);
    requests.close();
    await replyAddress.close();
    await link.close();
    await opened?.store.close();
  };

  attach((of) =>
    createReplays(of, {
      service,
      history: exchange.history,
      plans: () => subscriptions.living().filter(({ plan }) => plan.kind === 'event').map(({ plan }) => plan),
      decode: (plan) => createDecode(plan, cloudEvents, of.clock),
      wake: (name) => subscriptions.find(name)?.wake(),
    }),
  );

  return {
    publish,
    scopes,
    requests,
    middleware,
    rooms,
    add: subscriptions.add,
    saga: subscriptions.saga,
    sagas: subscriptions.sagas,
    start: () => {
      starting ??= start().catch((error: unknown) => {
        starting = undefined;
        throw error;
      });
      return starting;
    },
    stop,
    wake,
    transportUp: () => link.session() !== undefined,
    transport: () => link.session(),
    topology: createTopologyDesk({
      service,
      host,
      transport: transportDriver,
      store: async () => opened?.store ?? (await storeDriver()).open({ ...host, migrate: 'auto' }),
      isOpen: (store) => store === opened?.store,
      answersForHistory: options.relay !== 'off',
      subscriptions: subscriptions.living,
    }),
    slotTrouble: () => slotTrouble,
    attach,
    history: exchange.history,
    annexes: () => annexes,
    inFlight: () => [...subscriptions.all(), ...annexes].reduce((sum, one) => sum + one.inFlight(), 0) + (opened?.outbox.pending() ?? 0),
    subscriptions: subscriptions.all,
    subscription: subscriptions.find,
    rival: subscriptions.rival,
  };
}
