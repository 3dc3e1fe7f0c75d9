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
import type { Annex, AnnexGround, TopologyAtBroker } from './contract/internals.ts';
import type { Plan } from './contract/handling.ts';
import type { History } from './contract/history.ts';
import type { Loop } from './contract/loop.ts';
import { andThen } from './contract/maybe.ts';
import type { WireMessage } from './contract/message.ts';
import type { Logger, Signals } from './contract/signals.ts';
import type { Host, MaybePromise, Store, StoreSession, StoreTransaction } from './contract/store.ts';
import type { Consumer, Declaration, Delivery, Transport, TransportSession } from './contract/transport.ts';
import { versionsOf } from './contract/versions.ts';
import { embeddedDirectory, loadStore, loadTransport } from './drivers.ts';
import { type Failures, createFailures } from './failures/failures.ts';
import { cloudEvents } from './formats/cloudevents.ts';
import { createFreshness } from './freshness/freshness.ts';
import { createLosses } from './freshness/losses.ts';
import { createDecode } from './handle/decode.ts';
import { createGate } from './handle/gate.ts';
import { createRun } from './handle/run.ts';
import { attemptsOf, verdict } from './handle/verdict.ts';
import { beganMsOf, joins } from './inbox/begun.ts';
import { lateConsumer } from './inbox/late.ts';
import { createReplays } from './inbox/replays.ts';
import { type RunningSubscription, createSubscription } from './inbox/subscription.ts';
import { type Worker, createWorker, pollMs } from './inbox/worker.ts';
import type { SagaDefinition } from './contract/saga.ts';
import { createOnce } from './once/once.ts';
import { type Outbox, createOutbox } from './outbox/outbox.ts';
import { createRetention } from './outbox/retention.ts';
import type { checkOptions } from './options.ts';
import { type Prepared, type Publish, createPublish, publishedOf } from './publish/publish.ts';
import { type Requests, createRequests } from './publish/requests.ts';
import { type Scopes, createScopes } from './publish/scope.ts';
import { createUnreadWatch } from './publish/unread.ts';
import { type Relay, createRelay } from './relay/relay.ts';
import { type RunningSaga, createSaga } from './saga/saga.ts';
import { type Glance, createGlance } from './waiting/glance.ts';
import { createMover } from './waiting/mover.ts';
import { type Schedules, createSchedules } from './waiting/schedules.ts';
import { createHistoryExchange } from './wiring/history.ts';
import { createLink } from './wiring/link.ts';
import { createReplies } from './wiring/replies.ts';
import { createTopologyDesk } from './wiring/topology.ts';
import { acceptedOf, refuseUnsafe } from './wiring/unsafe.ts';

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

/** The rooms, once the store is open. */
export interface Rooms {
  readonly store: StoreSession;
  /** A publish without a transaction is refused. */
  readonly requireTransaction: boolean;
  readonly outbox: Outbox;
  readonly once: ReturnType<typeof createOnce>;
  readonly failures: Failures;
  readonly schedules: Schedules<Prepared>;
  readonly freshness: ReturnType<typeof createFreshness>;
  /** This instance's address for replies; listens from the first call on. */
  replyAddress(): Promise<string>;
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
}

export function createWiring(options: ReturnType<typeof checkOptions<any>>, ground: Ground): Wiring {
  const { clock, signals, logger } = ground;
  const { service } = options;
  const middleware: Middleware[] = [];
  const stopping = new AbortController();
  const link = createLink({ clock, signals, stopping: stopping.signal });
  const scopes = createScopes();
  const gate = createGate();
  const noticeUnread = createUnreadWatch({ clock, signals, isTaken: (type) => link.session()?.isTaken?.(type) });
  const publish = createPublish({ service, clock, signals, format: cloudEvents, middleware, propagate: options.propagate, hopsMax: options.hopsMax, noticeUnread });
  const requests = createRequests({ clock, signals });
  const replies = createReplies({ publish, clock });
  const instance = ground.instance ?? clock.id();
  const subscriptions = new Map<string, RunningSubscription>();
  const annexes: Annex[] = [];
  const trouble = (where: string, error: unknown): void => signals.emit('trouble', { where, error });
  const host: Host = { service, clock, signals, logger, migrate: options.migrate };

  let opening: Promise<Rooms> | undefined;
  let opened: Rooms | undefined;
  let starting: Promise<void> | undefined;
  let relay: Relay | undefined;
  let slotTrouble: string | undefined;
  let mover: Loop | undefined;
  let glance: Glance | undefined;
  let retention: Loop | undefined;
  let losses: Loop | undefined;
  let listening: Promise<{ address: string; close(): Promise<void> }> | undefined;

  const accepted = acceptedOf(options.accept, ground.env);
  const driver: { store?: Promise<Store>; transport?: Promise<Transport> } = {};
  const storeDriver = (): Promise<Store> => (driver.store ??= loadStore(options, ground.env));
  const transportDriver = (): Promise<Transport> => (driver.transport ??= loadTransport(options, ground.env));

  if (options.relay === 'log') {
    signals.on('log-slot', ({ state, error }) => {
      const well = state === 'created' || state === 'streaming';
      slotTrouble = well ? undefined : error === undefined ? state : `${state}: ${asError(error).message}`;
    });
  }

  // --- opening --------------------------------------------------------------------------------------------------------

  const open = async (): Promise<Rooms> => {
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
    return build(store, options.requireTransaction ?? from.fromClient);
  };

  const build = (store: StoreSession, requireTransaction: boolean): Rooms => {
    const outbox = createOutbox({
      store,
      clock,
      signals,
      ledger: () => link.session()?.ledger,
      onCommitted: () => {
        const session = link.session();
        session?.ledger?.hint();
        if (relay?.active === true || session?.capabilities.publishesAtCommit === true) relay?.wake();
        else store.ports.outbox.hint?.();
      },
      onDelayed: () => mover?.wake(),
    });
    const append = (tx: StoreTransaction, messages: readonly WireMessage[]): MaybePromise<void> =>
      outbox.append(tx, [{ messages, later: undefined }]);
    mover = createMover({ store, clock, append, trouble });
    glance = createGlance({ waiting: store.ports.waiting, clock, everyMs: pollMs });
    retention = createRetention({
      clock,
      trouble,
      pieces: [
        async (nowMs, max) => (knowsWhatLeft() ? store.ports.outbox.trim(nowMs - options.horizonMs, max) : 0),
        // What can still be delivered or retried is at most a horizon old, plus its retries: twice that is past all of it.
        (nowMs, max) => store.ports.inbox.trim(nowMs - 2 * options.horizonMs, max),
        (nowMs, max) => store.ports.once.trim(nowMs, max),
        // Tombstones outlive whatever could come again.
        async (nowMs, max) => (await store.ports.sagas?.trim(nowMs - 3 * options.horizonMs, max)) ?? 0,
      ],
    });
    losses = createLosses({
      clock,
      signals,
      store: () => store,
      history: () => exchange.history(),
      subscription: (name) => {
        const found = subscriptions.get(name);
        if (!found || found.removed || found.plan.kind !== 'event' || link.session()?.capabilities.publishesAtCommit === true) return undefined;
        return {
          types: bindingsOf(found.plan).map(({ type }) => type),
          thereSinceMs: found.begunAt?.atMs,
          beganMs: beganMsOf(found.begunAt),
          progress: () => found.progress().sources,
        };
      },
    });
    opened = {
      store,
      requireTransaction,
      outbox,
      schedules: createSchedules({ service, store, clock, append: (tx, prepared) => outbox.append(tx, [prepared]), trouble }),
      once: createOnce({ store, clock, within: (tx, work) => scopes.run({ kind: 'transaction', tx, cause: undefined }, work) }),
      failures: createFailures({
        store,
        clock,
        append,
        attempts,
        onRetried: wake,
      }),
      freshness: createFreshness({
        store,
        clock,
        signals,
        takers: (types) => [...subscriptions.values()].filter((s) => !s.removed && bindingsOf(s.plan).some(({ type }) => types.includes(type))).map(({ name, begunAt }) => ({ name, sinceMs: beganMsOf(begunAt) })),
        inboxMs: 2 * options.horizonMs,
        progress: () => Promise.all([...subscriptions.values()].filter((s) => !s.removed).map(async (s) => ({ subscription: s.name, ...(await s.look()) }))),
      }),
      async replyAddress() {
        const session = await link.connected();
        if (!session) throw new WaybillError('STOPPED', 'the bus was stopped');
        listening ??= session.listen(takeReply).catch((error: unknown) => {
          listening = undefined; // the next request tries again
          throw error;
        });
        return (await listening).address;
      },
    };
    return opened;
  };

  const attempts = (name: string): number =>
    attemptsOf(subscriptions.get(name)?.plan.retry ?? { immediate: 2, delayed: 8, delayMs: 0, delayMaxMs: 0 });

  const takeReply = (delivery: Delivery): void => {
    try {
      const { envelope, json } = cloudEvents.decode(delivery.headers, delivery.body);
      requests.take(envelope, json);
    } catch (error) {
      trouble('reading a reply', error);
    }
  };

  /** A store cannot tell what left by its commit from what no relay has ever come for: that must stay, however old. */
  const knowsWhatLeft = (): boolean => relay !== undefined || link.session()?.capabilities.publishesAtCommit === true;

  const rooms = (): MaybePromise<Rooms> => {
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

  // --- subscriptions --------------------------------------------------------------------------------------------------

  const add = (plan: Plan): RunningSubscription => {
    const subscription = createSubscription({
      plan,
      clock,
      store: () => opened!.store,
      bindings: ({ publishesAtCommit }) => (plan.kind === 'event' && !publishesAtCommit ? [...bindingsOf(plan), heartbeatBinding] : bindingsOf(plan)),
      work: (consumer) => workerFor(plan, consumer),
      late: (consumer, { from }) =>
        lateConsumer(consumer, {
          subscription: plan.name,
          clock,
          signals,
          history: exchange,
          types: bindingsOf(plan).map(({ type }) => type),
          sinceMs: typeof from === 'number' ? from : undefined,
          ...joins(opened!.store, clock, plan.name),
        }),
      isAnother: (name) => subscriptions.get(name)?.removed === false && name !== plan.name,
      isInHandler: () => scopes.current() !== undefined,
    });
    subscriptions.set(plan.name, subscription);
    if (starting) {
      // The rest of this turn's `.on(…)` calls belong to it.
      void starting.then(() => clock.turn()).then(() => startOne(subscription)).catch((error: unknown) => trouble(`starting ${plan.name}`, error));
    }
    return subscription;
  };

  const startOne = async (subscription: RunningSubscription): Promise<void> => {
    const session = await link.connected();
    if (session && !stopping.signal.aborted) await startOn(session, subscription, 'late');
  };

  const saga = (definition: SagaDefinition, name: string, formerly: readonly string[]): RunningSaga => {
    const host = { service, clock, signals, format: cloudEvents, hopsMax: options.hopsMax, formerly, store: () => opened!.store, attempts };
    return createSaga(definition, name, { ...host, wake: (subscription) => subscriptions.get(subscription)?.wake() });
  };

  const sagas = (): Map<string, SagaDefinition> =>
    new Map([...subscriptions.values()].flatMap(({ plan, removed }) => (plan.saga && !removed ? [[plan.name, plan.saga] as const] : [])));

  const refuseSagas = ({ ports }: StoreSession): void => {
    const [saga] = sagas().keys();
    if (saga === undefined || ports.sagas) return;
    throw new WaybillError('CAPABILITY_MISSING', `this store keeps no sagas, and ${saga} needs one that does`);
  };

  const refuseLog = ({ capabilities: { log } }: StoreSession): void => {
    if (options.relay !== 'log' || log === true) return;
    throw new WaybillError('CAPABILITY_MISSING', `relay: 'log' reads a database's log, and this store has none to read: ${log ?? "use 'inline' or 'worker'"}`);
  };

  /** A broker that goes away in this moment stops no start: the subscription follows when it is back. */
  const startOn = async (session: TransportSession, subscription: RunningSubscription, when: 'at start' | 'late'): Promise<void> => {
    const away = (error: unknown): void => {
      const reason = WaybillError.is(error) && error.code.startsWith('TRANSPORT') ? 'transport' : 'store';
      signals.emit('paused', { subscription: subscription.name, reason, error });
    };
    try {
      await subscription.start(session);
    } catch (error) {
      // Late there is no start() any more that could reject: one that fails for a moment must not stay dead.
      if (when === 'at start' && !WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;
      if (stopping.signal.aborted) return;
      away(error);
      void link.keepTrying(() => subscription.start(session), away);
    }
  };

  const workerFor = (plan: Plan, consumer: Consumer): Worker => {
    const { store, outbox } = opened!;
    const append = async (tx: StoreTransaction, message: WireMessage): Promise<void> =>
      outbox.append(tx, [{ messages: [message], later: undefined }]);
    const run = createRun({
      clock,
      logger,
      middleware,
      trouble,
      within: (ready, tx, work) => scopes.run({ kind: 'handler', tx, cause: ready.envelope }, work),
      publish(scope, drafts, cause) {
        return andThen(publish.prepareAll(drafts, cause), (prepared) => andThen(outbox.append(scope.tx, prepared), () => prepared.map(publishedOf)));
      },
      track: (publish) => scopes.track(publish),
    });
    return createWorker({
      plan,
      consumer,
      store,
      owner: link.session()?.capabilities.exclusive === true ? plan.name : instance,
      clock,
      signals,
      watch: glance!,
      gate,
      runs: run,
      trouble,
      append,
      attempts: attemptsOf(plan.retry),
      reads: (type) => bindingsOf(plan).some((binding) => binding.type === type),
      decode: createDecode(plan, cloudEvents, clock),
      verdict: (error, attempt) => verdict(error, attempt, plan.retry, () => clock.random()),
      reply: replies.succeeded,
      replyFailed: replies.failed,
    });
  };

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
    heardOf: () => [...new Set([...subscriptions.values()].flatMap((one) => one.progress().sources.map(({ source }) => source)))],
  });

  const heartbeat = (untilMs: number): WireMessage => {
    const id = clock.id();
    return controlMessage(cloudEvents, { kind: 'event', id, source: service, type: heartbeatType, time: new Date(untilMs), correlationId: id, headers: {} }, '{}');
  };

  // --- life -----------------------------------------------------------------------------------------------------------

  const wake = (): void => {
    for (const subscription of subscriptions.values()) subscription.wake();
    for (const annex of annexes) annex.wake();
    mover?.wake();
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

  const start = async (): Promise<void> => {
    const { store } = await rooms();
    refuseSagas(store);
    refuseLog(store);
    await refuseUnsafe([store, link.session()], accepted, (error) => trouble('looking at what this bus runs on', error));
    const first = [...subscriptions.values()];
    const whenConnected = async (session: TransportSession | undefined, when: 'at start' | 'late'): Promise<void> => {
      if (!session || stopping.signal.aborted) return;
      if (!session.capabilities.publishesAtCommit && options.relay !== 'off') {
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
      }
      // Together: a broker lets each new queue settle for seconds.
      await Promise.all([options.relay === 'off' ? undefined : openHistory(session), ...first.map((subscription) => startOn(session, subscription, when))]);
    };
    const session = link.session();
    if (session) await whenConnected(session, 'at start');
    else void link.connected().then((late) => whenConnected(late, 'late')).catch((error: unknown) => trouble('starting the subscriptions', error));
    losses!.start();
    if (options.relay !== 'off') {
      mover!.start();
      opened!.schedules.loop.start();
    }
    retention!.start();
    for (const annex of annexes) annex.start();
  };

  const stop = async (drainMs: number): Promise<void> => {
    stopping.abort();
    await opening?.catch(() => {});
    await starting?.catch(() => {});
    await retention?.stop();
    await losses?.stop();
    await Promise.all([...subscriptions.values(), ...annexes].map((one) => one.stop(drainMs)));
    await exchange.stop();
    await opened?.schedules.loop.stop();
    await mover?.stop();
    await relay?.stop(drainMs);
    requests.close();
    await (await listening?.catch(() => undefined))?.close();
    await link.close();
    await opened?.store.close();
  };

  attach((of) =>
    createReplays(of, {
      service,
      history: exchange.history,
      plans: () => [...subscriptions.values()].filter(({ plan, removed }) => !removed && plan.kind === 'event').map(({ plan }) => plan),
      wake: (name) => subscriptions.get(name)?.wake(),
    }),
  );

  return {
    publish,
    scopes,
    requests,
    middleware,
    rooms,
    add,
    saga,
    sagas,
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
      subscriptions: () => [...subscriptions.values()].filter(({ removed }) => !removed),
    }),
    slotTrouble: () => slotTrouble,
    attach,
    history: exchange.history,
    annexes: () => annexes,
    inFlight: () => [...subscriptions.values(), ...annexes].reduce((sum, one) => sum + one.inFlight(), 0) + (opened?.outbox.pending() ?? 0),
    subscriptions: () => [...subscriptions.values()],
  };
}

const heartbeatBinding = { type: heartbeatType, kind: 'event' } as const;

/** What a subscription takes from others, by type on the wire. */
function bindingsOf(plan: Plan): Declaration['bindings'] {
  const takers = [...plan.handlers.values()].filter((taker) => !taker.own);
  return takers.flatMap((taker) => versionsOf(taker.contract).map(({ type, kind }) => ({ type, kind })));
}
