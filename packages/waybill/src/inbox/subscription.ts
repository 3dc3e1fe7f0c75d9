import type { Plan } from '../contract/handling.ts';
import { WaybillError } from '../contract/errors.ts';
import type { StoreSession } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import type { Clock } from '../contract/clock.ts';
import type { Consumer, Declaration, SourceProgress, TransportCapabilities, TransportSession } from '../contract/transport.ts';
import { anyWaits, consumerOfNothing, dropWaiting, noneWaits } from './leftovers.ts';
import { type Begun, begun, forget } from './begun.ts';
import { namesBefore, writeNames } from './renames.ts';
import type { LateConsumer } from './late.ts';
import type { Worker } from './worker.ts';

/**
 * One subscription while the bus runs. Its states, and what moves it:
 *
 *     idle ─start─► starting ─► running ─unsubscribe─► removed
 *                      └── stop ──┴──────────────────► stopped
 *
 * `pause` and `resume` concern the worker alone; a subscription that is paused before it runs begins paused.
 */
export interface RunningSubscription {
  readonly name: string;
  readonly plan: Plan;
  /** Since when it is there, once that is known. */
  readonly begunAt: Begun | undefined;
  /** What it asks of a transport with these abilities. */
  declaration(on: Abilities): Declaration;
  /** Declares, consumes, works. Rejects when the transport refuses the declaration. */
  start(transport: TransportSession): Promise<void>;
  /** Rejects when a start failed; after that, waits for the next one. */
  ready(): Promise<void>;
  /** Its bindings are declared, or are being so: no handler may be added any more. */
  readonly begun: boolean;
  /** Unsubscribed: its name is free again. */
  readonly removed: boolean;
  pause(): Promise<void>;
  resume(): Promise<void>;
  unsubscribe(options?: { queued?: 'apply' | 'drop' }): Promise<void>;
  stop(drainMs: number): Promise<void>;
  wake(): void;
  inFlight(): number;
  progress(): { readonly sources: readonly SourceProgress[]; readonly active: boolean };
  /** How far the subscription is, whichever instance works on it; `known`: it can be told from here. */
  look(): Promise<{ readonly sources: readonly SourceProgress[]; readonly known: boolean }>;
}

type Abilities = Pick<TransportCapabilities, 'publishesAtCommit' | 'startsInPast'>;

/** Sources that a subscription is known to have had something from, before this process began. */
const sourcesMax = 1_000;

export function createSubscription(options: {
  plan: Plan;
  clock: Clock;
  store: () => StoreSession;
  /** Every type that its handlers take, older versions too. */
  bindings: (on: Abilities) => Declaration['bindings'];
  work: (consumer: Consumer) => Worker;
  /** The same consumer, which first takes what publishers have sent before. */
  late: (consumer: Consumer, begun: Begun) => LateConsumer;
  /** Whether another subscription of this bus has this name. */
  isAnother: (name: string) => boolean;
  /** Whether the running code is a handler's, or a transaction's. */
  isInHandler: () => boolean;
}): RunningSubscription {
  const { plan, clock } = options;
  let state: 'idle' | 'starting' | 'running' | 'removed' | 'stopped' = 'idle';
  let transport: TransportSession | undefined;
  let consumer: Consumer | undefined;
  let worker: Worker | undefined;
  let pausedEarly = false;
  let beginning: Begun | undefined;
  let late: LateConsumer | undefined;
  /** Of a broker that tells of nothing but what comes: from whom something had come before. */
  let formerSources: ReadonlySet<string> = new Set();
  /** Unsubscribed, and its queue gone. */
  let finishing = false;
  const promiseReady = (): PromiseWithResolvers<void> => {
    const made = Promise.withResolvers<void>();
    made.promise.catch(() => {}); // whoever wants to know awaits it
    return made;
  };
  let ready = promiseReady();

  /** It begins in the past, and the transport keeps none. */
  const askPublishers = ({ publishesAtCommit, startsInPast }: Abilities): boolean => plan.kind === 'event' && !publishesAtCommit && startsInPast !== true;

  const declaration = (on: Abilities): Declaration => ({
    name: plan.name,
    bindings: options.bindings(on),
    order: plan.order,
    from: askPublishers(on) ? 'now' : plan.from,
    formerly: plan.formerly,
    ...(plan.batch !== undefined && { batch: plan.batch }),
    concurrency: plan.concurrency,
  });

  /**
   * Inbox and watermarks under the new name, before anything is delivered under it, and after the declaration has
   * relieved whoever works under the old one: what that applied until then is carried over too.
   */
  const carryOver = async (): Promise<void> => {
    const store = options.store();
    if (plan.formerly.length === 0) return;
    await transact(store, clock, async (tx) => {
      for (const old of plan.formerly) await store.ports.inbox.rename(tx, old, plan.name);
      await writeNames(store, tx, plan.name, plan.formerly);
    });
  };

  /** The queue is gone: what waits for its next run is run here, by a worker that takes nothing else. */
  const finishWaiting = async (): Promise<void> => {
    if (finishing || !(await anyWaits(options.store(), plan.name))) return;
    finishing = true;
    await worker?.stop(plan.timeoutMs);
    await consumer?.close();
    consumer = consumerOfNothing(clock);
    worker = options.work(consumer);
    if (pausedEarly) await worker.pause();
    worker.start();
  };

  const end = async (next: 'removed' | 'stopped', drainMs: number): Promise<void> => {
    if (state === 'removed' || state === 'stopped') return;
    state = next;
    ready.reject(new WaybillError('STOPPED', `${plan.name} was ${next} before it was ready`));
    await worker?.stop(drainMs);
    await consumer?.close();
  };

  /** Every bus sends heartbeats to all who take events: they concern those who have taken something of it. */
  const concerned = (told: readonly SourceProgress[]): readonly SourceProgress[] => {
    const listed = told.filter(({ source, onlyHeartbeats }) => onlyHeartbeats !== true || formerSources.has(source) || late?.gave(source) === true);
    const silent = [...formerSources].filter((source) => !listed.some((one) => one.source === source));
    return [...listed, ...silent.map((source) => ({ source, appliedUntilMs: 0, waiting: undefined }))];
  };

  return {
    name: plan.name,
    plan,
    declaration,
    get begunAt() {
      return beginning;
    },
    async start(session) {
      if (state !== 'idle') return ready.promise;
      state = 'starting';
      transport = session;
      try {
        if (plan.handlers.size === 0) {
          throw new WaybillError('INVALID_OPTION', `subscription ${plan.name} has no handler: call .on(event, handler) before start()`);
        }
        plan.formerly = await namesBefore(options.store(), clock, plan, options.isAnother);
        await session.declare(declaration(session.capabilities));
        await carryOver();
        beginning = await begun(options.store(), clock, plan);
        if (!session.capabilities.publishesAtCommit) formerSources = new Set(await options.store().ports.inbox.sources(plan.name, sourcesMax));
        const concerns = (source: string): boolean => formerSources.has(source) || late?.awaits(source) === true;
        consumer = await session.consume(declaration(session.capabilities), { concerns });
        if (beginning.from !== 'now' && askPublishers(session.capabilities)) consumer = late = options.late(consumer, beginning);
        if ((state as string) !== 'starting') return await consumer.close();
        worker = options.work(consumer);
        if (pausedEarly) await worker.pause();
        worker.start();
        state = 'running';
        ready.resolve();
      } catch (error) {
        const starting = (state as string) === 'starting';
        if (starting) state = 'idle';
        // A broker that is away is sought again: whoever waits for `ready` goes on waiting.
        if (!starting || !WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) {
          ready.reject(error);
          if (starting) ready = promiseReady();
        }
        throw error;
      }
    },
    ready: () => ready.promise,
    get begun() {
      return state !== 'idle';
    },
    get removed() {
      return state === 'removed';
    },
    async pause() {
      pausedEarly = true;
      const paused = worker?.pause();
      // A handler that pauses its own subscription (the outside is down) must not wait for its own end.
      if (options.isInHandler()) paused?.catch(() => {});
      else await paused;
    },
    async resume() {
      pausedEarly = false;
      worker?.resume();
    },
    async unsubscribe({ queued = 'apply' } = {}) {
      if (queued !== 'apply' && queued !== 'drop') {
        throw new WaybillError('INVALID_OPTION', `unsubscribe: queued must be 'apply' or 'drop', not ${String(queued)}`);
      }
      if (state === 'removed') return;
      if (!transport || state !== 'running') {
        throw new WaybillError('NOT_STARTED', `${plan.name}: unsubscribe needs a bus that has started and not been stopped`);
      }
      // Applied first: this instance goes on working until the transport says that the queue is gone.
      if (queued === 'drop') await worker?.pause();
      await transport.remove(plan.name, queued);
      await forget(options.store(), clock, plan.name);
      const store = options.store();
      if (queued === 'drop') await dropWaiting(store, clock, plan.name);
      else {
        await finishWaiting();
        await noneWaits(store, clock, plan.name);
      }
      await end('removed', 0);
    },
    stop: (drainMs) => end('stopped', drainMs),
    wake: () => worker?.wake(),
    inFlight: () => (worker?.inFlight() ?? 0) + (late?.joining ?? 0),
    progress: () => ({ sources: concerned(consumer?.progress() ?? []), active: consumer?.active ?? false }),
    async look() {
      if (!consumer) return { sources: [], known: false };
      if (consumer.active) return { sources: concerned(consumer.progress()), known: true };
      return consumer.standby ? { sources: await consumer.standby(), known: true } : { sources: concerned(consumer.progress()), known: false };
    },
  };
}
