/** The subscriptions of a bus: each is given its worker, between the transport, the inbox and the handler, and is started on the link. */
import type { Middleware } from '../contract/api.ts';
import type { Clock } from '../contract/clock.ts';
import { heartbeatType } from '../contract/control.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Plan } from '../contract/handling.ts';
import { andThen } from '../contract/maybe.ts';
import type { WireMessage } from '../contract/message.ts';
import type { SagaDefinition } from '../contract/saga.ts';
import type { Logger, Signals } from '../contract/signals.ts';
import type { StoreTransaction } from '../contract/store.ts';
import type { Consumer, Declaration, TransportSession } from '../contract/transport.ts';
import { versionsOf } from '../contract/versions.ts';
import { cloudEvents } from '../formats/cloudevents.ts';
import { createDecode } from '../handle/decode.ts';
import { createGate } from '../handle/gate.ts';
import { createRun } from '../handle/run.ts';
import { attemptsOf, verdict } from '../handle/verdict.ts';
import { joins } from '../inbox/begun.ts';
import { lateConsumer } from '../inbox/late.ts';
import { type RunningSubscription, createSubscription } from '../inbox/subscription.ts';
import { type Worker, createWorker } from '../inbox/worker.ts';
import { type Publish, publishedOf } from '../publish/publish.ts';
import type { Scopes } from '../publish/scope.ts';
import { type RunningSaga, createSaga } from '../saga/saga.ts';
import type { HistoryExchange } from './history.ts';
import type { Link } from './link.ts';
import type { Replies } from './replies.ts';
import type { OpenRooms } from './rooms.ts';

export interface Subscriptions {
  add(plan: Plan): RunningSubscription;
  /** A saga as handlers of the subscription of this full name. */
  saga(definition: SagaDefinition, name: string, formerly: readonly string[]): RunningSaga;
  sagas(): ReadonlyMap<string, SagaDefinition>;
  /** A broker that goes away in this moment stops no start: the subscription follows when it is back. */
  start(session: TransportSession, subscription: RunningSubscription, when: 'at start' | 'late'): Promise<void>;
  find(name: string): RunningSubscription | undefined;
  /** The one that was called as the plan's is, or the other way round: one of them is the other's former self. */
  rival(plan: Plan): RunningSubscription | undefined;
  all(): readonly RunningSubscription[];
  /** Without those that were unsubscribed. */
  living(): readonly RunningSubscription[];
  /** Runs of a handler at most, before the message fails. */
  attempts(name: string): number;
}

export interface SubscriptionsOptions {
  readonly service: string;
  readonly hopsMax: number;
  /** Whose copy of a message this is, where several instances of a service work on one subscription. */
  readonly instance: string;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly logger: Logger;
  readonly middleware: readonly Middleware[];
  readonly link: Link;
  readonly publish: Publish;
  readonly scopes: Scopes;
  readonly replies: Replies;
  readonly exchange: HistoryExchange;
  readonly stopping: AbortSignal;
  /** Open before anything is started. */
  readonly rooms: () => OpenRooms;
  /** The bus's start, once it was called. */
  readonly starting: () => Promise<void> | undefined;
  readonly trouble: (where: string, error: unknown) => void;
}

export function createSubscriptions(options: SubscriptionsOptions): Subscriptions {
  const { service, clock, signals, link, publish, scopes, replies, stopping, rooms, trouble } = options;
  const subscriptions = new Map<string, RunningSubscription>();
  /** By former name: a new subscription must not have to ask each of the others. */
  const successors = new Map<string, readonly RunningSubscription[]>();
  const gate = createGate();

  const living = (): RunningSubscription[] => [...subscriptions.values()].filter(({ removed }) => !removed);

  const successorsOf = (former: string): readonly RunningSubscription[] => (successors.get(former) ?? []).filter(({ removed }) => !removed);

  const rival = (plan: Plan): RunningSubscription | undefined =>
    plan.formerly.map((former) => subscriptions.get(former)).find((other) => other?.removed === false) ?? successorsOf(plan.name)[0];

  const attempts = (name: string): number =>
    attemptsOf(subscriptions.get(name)?.plan.retry ?? { immediate: 2, delayed: 8, delayMs: 0, delayMaxMs: 0 });

  const add = (plan: Plan): RunningSubscription => {
    const subscription = createSubscription({
      plan,
      clock,
      store: () => rooms().store,
      bindings: ({ publishesAtCommit }) => (plan.kind === 'event' && !publishesAtCommit ? [...bindingsOf(plan), heartbeatBinding] : bindingsOf(plan)),
      work: (consumer) => workerFor(plan, consumer),
      late: (consumer, { from }) =>
        lateConsumer(consumer, {
          subscription: plan.name,
          clock,
          signals,
          history: options.exchange,
          types: bindingsOf(plan).map(({ type }) => type),
          sinceMs: typeof from === 'number' ? from : undefined,
          ...joins(rooms().store, clock, plan.name),
        }),
      isAnother: (name) => subscriptions.get(name)?.removed === false && name !== plan.name,
      isInHandler: () => scopes.current() !== undefined,
    });
    subscriptions.set(plan.name, subscription);
    for (const former of plan.formerly) successors.set(former, [...successorsOf(former), subscription]);
    const starting = options.starting();
    if (starting) {
      // The rest of this turn's `.on(…)` calls belong to it.
      void starting.then(() => clock.turn()).then(() => startOne(subscription)).catch((error: unknown) => trouble(`starting ${plan.name}`, error));
    }
    return subscription;
  };

  const startOne = async (subscription: RunningSubscription): Promise<void> => {
    const session = await link.connected();
    if (session && !stopping.aborted) await start(session, subscription, 'late');
  };

  const saga = (definition: SagaDefinition, name: string, formerly: readonly string[]): RunningSaga => {
    const host = { service, clock, signals, format: cloudEvents, hopsMax: options.hopsMax, formerly, store: () => rooms().store, attempts };
    return createSaga(definition, name, { ...host, wake: (subscription) => subscriptions.get(subscription)?.wake() });
  };

  const sagas = (): Map<string, SagaDefinition> =>
    new Map(living().flatMap(({ plan }) => (plan.saga ? [[plan.name, plan.saga] as const] : [])));

  const start: Subscriptions['start'] = async (session, subscription, when) => {
    const away = (error: unknown): void => {
      const reason = WaybillError.is(error) && error.code.startsWith('TRANSPORT') ? 'transport' : 'store';
      signals.emit('paused', { subscription: subscription.name, reason, error });
    };
    try {
      await subscription.start(session);
    } catch (error) {
      // Late there is no start() any more that could reject: one that fails for a moment must not stay dead.
      if (when === 'at start' && !WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;
      if (stopping.aborted) return;
      away(error);
      void link.keepTrying(() => subscription.start(session), away);
    }
  };

  const workerFor = (plan: Plan, consumer: Consumer): Worker => {
    const { store, outbox, glance } = rooms();
    const append = async (tx: StoreTransaction, message: WireMessage): Promise<void> =>
      outbox.append(tx, [{ messages: [message], later: undefined }]);
    const run = createRun({
      clock,
      logger: options.logger,
      middleware: options.middleware,
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
      owner: link.session()?.capabilities.exclusive === true ? plan.name : options.instance,
      clock,
      signals,
      watch: glance,
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

  return {
    add,
    saga,
    sagas,
    start,
    find: (name) => subscriptions.get(name),
    rival,
    all: () => [...subscriptions.values()],
    living,
    attempts,
  };
}

const heartbeatBinding = { type: heartbeatType, kind: 'event' } as const;

/** What a subscription takes from others, by type on the wire. */
export function bindingsOf(plan: Plan): Declaration['bindings'] {
  const takers = [...plan.handlers.values()].filter((taker) => !taker.own);
  return takers.flatMap((taker) => versionsOf(taker.contract).map(({ type, kind }) => ({ type, kind })));
}
