/** The bus as its users hold it: checks what they ask, knows where they stand, and hands on to the rooms. */
import type { Bus, BusOptions, Health, Middleware, MultiSubscription, Published, Schedule, Subscription } from './contract/api.ts';
import { sleep, systemClock } from './contract/clock.ts';
import { checkId } from './contract/bounds.ts';
import { type ContractDefinition, type Draft, type MessageOptions, definitionOf, definitionOfDraft } from './contract/contracts.ts';
import { WaybillError } from './contract/errors.ts';
import { type BusInternals, internalsKey } from './contract/internals.ts';
import { definitionOfSaga } from './contract/saga.ts';
import { andThen, isLater } from './contract/maybe.ts';
import { describeIssues, validate } from './contract/schema.ts';
import type { MaybePromise, StoreTransaction } from './contract/store.ts';
import { told } from './contract/told.ts';
import { transact } from './contract/transact.ts';
import type { SqlTransaction } from './contract/transaction.ts';
import { checkWords } from './contract/words.ts';
import { type PlanOptions, addTaker, fullName, planOf } from './handle/plan.ts';
import { beganMsOf } from './inbox/begun.ts';
import type { RunningSubscription } from './inbox/subscription.ts';
import { consoleLogger, logSignals } from './observe/log.ts';
import { createSignals } from './observe/signals.ts';
import { checkOptions } from './options.ts';
import { checkData } from './publish/data.ts';
import { type Prepared, type PrepareOptions, type Unprepared, publishedOf } from './publish/publish.ts';
import { targetOf } from './publish/target.ts';
import { readToken } from './publish/token.ts';
import { seal } from './saga/define.ts';
import { type Ground, createWiring } from './wiring.ts';
import type { Rooms } from './wiring/rooms.ts';

const drainDefaultMs = 10_000;

/**
 * Creates a bus. Nothing is opened before `start()` or the first publish.
 * @throws WaybillError `INVALID_OPTION`, `CAPABILITY_MISSING`
 */
export function createBus<Tx = SqlTransaction>(options: BusOptions<Tx>): Bus<Tx> {
  return assembleBus(options, {});
}

/** As `createBus`, on another ground: for `waybill/testing`. */
export function assembleBus<Tx = SqlTransaction>(given: BusOptions<Tx>, ground: Partial<Ground>): Bus<Tx> {
  const options = checkOptions(given);
  const { service } = options;
  const signals = ground.signals ?? createSignals();
  const clock = ground.clock ?? systemClock();
  const logger = options.logger ?? consoleLogger;
  logSignals(signals, logger, () => clock.monotonic());
  const wiring = createWiring(options, { env: process.env, ...ground, clock, signals, logger });
  const { scopes, publish: room } = wiring;

  /** Who has each command's one handler, by type. */
  const handling = new Map<string, RunningSubscription>();
  const duplicates = new Map<string, number>();
  signals.on('duplicate', ({ subscription }) => duplicates.set(subscription, (duplicates.get(subscription) ?? 0) + 1));
  let started: Promise<void> | undefined;
  let stopped: Promise<void> | undefined;
  let userTransactions = 0;
  const exitHandlers: (() => void)[] = [];

  const checkOpen = (what: string): void => {
    // What already runs may finish: its publishes belong to it.
    if (stopped && !scopes.current()) throw new WaybillError('STOPPED', `${what} after stop(): create another bus`);
  };

  // --- publishing -----------------------------------------------------------------------------------------------------

  const publishWanted = (what: string, drafts: readonly Unprepared[], given: unknown): MaybePromise<readonly Prepared[]> => {
    checkOpen(what);
    const scope = scopes.current();
    const write = ({ store, outbox, requireTransaction }: Rooms, prepare: () => MaybePromise<readonly Prepared[]>): MaybePromise<readonly Prepared[]> => {
      const tx = targetOf(given, scope, store, requireTransaction, what); // first: where it would go may be refused
      return andThen(prepare(), (prepared) => andThen(tx ? outbox.append(tx, prepared) : outbox.appendOwn(prepared), () => prepared));
    };
    const rooms = wiring.rooms();
    if (!isLater(rooms)) return write(rooms, () => room.prepareAll(drafts, scope?.cause));
    const preparing = (async () => room.prepareAll(drafts, scope?.cause))();
    preparing.catch(() => {}); // heard once the rooms are open
    return rooms.then((opened) => write(opened, () => preparing));
  };

  const publishOne = (kind: 'event' | 'command', contract: unknown, data: unknown, given: MessageOptions & { tx?: unknown } = {}): MaybePromise<Published> => {
    const what = kind === 'event' ? 'publish' : 'send';
    const definition = definitionOf(contract);
    if (definition.kind !== kind) {
      throw new WaybillError('INVALID_CONTRACT', `${definition.type} is ${aKind(definition)}: use ${kind === 'event' ? 'send' : 'publish'}`);
    }
    if (typeof given !== 'object' || given === null) throw new WaybillError('INVALID_OPTION', `${what}: the options must be an object, { tx } for instance`);
    const { tx, ...options } = given;
    return andThen(publishWanted(what, [{ contract: definition, data, options }], tx), ([one]) => publishedOf(one!));
  };

  const publishMany = (drafts: readonly Draft[], how: { tx?: unknown }): MaybePromise<Published[]> => {
    checkWords('publishAll', how, ['tx']);
    if (!Array.isArray(drafts)) throw new WaybillError('INVALID_OPTION', 'publishAll takes a list of drafts: [Contract.of(data), …]');
    return andThen(publishWanted('publishAll', (drafts as readonly Draft[]).map(unpreparedOf), how.tx), (all) => all.map(publishedOf));
  };

  // --- subscribing ----------------------------------------------------------------------------------------------------

  const register = (fields: { name: string | undefined; byDefault: string; kind: 'event' | 'command'; setBased?: boolean; options: PlanOptions }): RunningSubscription => {
    checkOpen('subscribe');
    const name = fields.name === undefined ? fields.byDefault : fullName(service, fields.name);
    if (wiring.subscription(name)?.removed === false) {
      throw new WaybillError(
        'DUPLICATE_SUBSCRIPTION',
        `there is a subscription ${name} already: give this one a name of its own, { name: '…' }; each is a queue and sees every message`,
      );
    }
    const plan = planOf({ name, kind: fields.kind, setBased: fields.setBased ?? false, service, options: fields.options });
    const rival = wiring.rival(plan);
    if (rival) {
      throw new WaybillError('DUPLICATE_SUBSCRIPTION', `${name} and ${rival.name}: \`formerly\` makes one out of the other, so there cannot be both`);
    }
    return wiring.add(plan);
  };

  const subscribeTo = (contract: unknown, kind: 'event' | 'command', a: unknown, b: unknown, setBased: boolean): Subscription => {
    const definition = definitionOf(contract);
    if (definition.kind !== kind) {
      throw new WaybillError('INVALID_CONTRACT', `${definition.type} is ${aKind(definition)}: ${kind === 'event' ? 'handle' : 'subscribe to'} it`);
    }
    const [options, handler] = typeof a === 'function' ? [{}, a] : [(a ?? {}) as PlanOptions, b];
    if (kind === 'command') {
      if (definition.to !== service) {
        throw new WaybillError('INVALID_OPTION', `${definition.type} goes to the service ${definition.to}, this one is ${service}; see \`to\` in its contract`);
      }
      if (handling.get(definition.type)?.removed === false) throw new WaybillError('DUPLICATE_HANDLER', `${definition.type} has a handler already; a command has one`);
    }
    const plan = { name: options.name, byDefault: `${service}.${definition.name}`, kind, setBased, options };
    // Checked before it is added: a subscription that was refused must not stay.
    addTaker(planOf({ name: plan.byDefault, kind, setBased, service, options }), { contract: definition, handler: handler as never });
    const subscription = register(plan);
    addTaker(subscription.plan, { contract: definition, handler: handler as never });
    if (kind === 'command') handling.set(definition.type, subscription);
    return subscription;
  };

  const subscription = (name: string, options: PlanOptions = {}): MultiSubscription<any, any, any> => {
    const running = register({ name, byDefault: name, kind: 'event', options });
    const multi = {
      name: running.name,
      on(contract: unknown, handler: (event: any, ctx: any) => unknown) {
        const definition = definitionOf(contract);
        if (definition.kind !== 'event') throw new WaybillError('INVALID_CONTRACT', `${definition.type} is a command: handle it`);
        if (running.begun) throw new WaybillError('INVALID_OPTION', `${running.name} has started: add its events before, or in the same turn`);
        addTaker(running.plan, { contract: definition, handler });
        return multi;
      },
      ready: () => running.ready(),
      pause: () => running.pause(),
      resume: () => running.resume(),
      unsubscribe: (how?: { queued?: 'apply' | 'drop' }) => running.unsubscribe(how),
    };
    return multi as unknown as MultiSubscription<any, any, any>;
  };

  const run = (given: unknown, how: PlanOptions = {}): Subscription => {
    const definition = definitionOfSaga(given);
    seal(definition);
    if (typeof how !== 'object' || how === null || 'name' in how || 'order' in how || 'onFailed' in how || 'transaction' in how) {
      throw new WaybillError('INVALID_OPTION', `run: the options of saga ${definition.name} are those of a subscription, without name, order, transaction and onFailed`);
    }
    const name = `${service}.${definition.name}`;
    const formerly = planOf({ name, kind: 'event', setBased: false, service, options: how }).formerly.map((old) => old.slice(service.length + 1));
    const { takers, parked, resume } = wiring.saga(definition, name, formerly);
    const options: PlanOptions = { afterFailure: 'hold', ...how, order: 'by-key' };
    const check = planOf({ name, kind: 'event', setBased: false, service, options });
    for (const taker of takers) addTaker(check, taker); // refused here, or not at all
    const subscription = register({ name: undefined, byDefault: name, kind: 'event', options });
    for (const taker of takers) addTaker(subscription.plan, taker);
    subscription.plan.saga = definition;
    Object.assign(subscription.plan, { resume, parked });
    return subscription;
  };

  // --- transactions ---------------------------------------------------------------------------------------------------

  const refuseNested = (what: string): void => {
    const scope = scopes.current();
    if (!scope) return;
    throw new WaybillError(
      'NESTED_TRANSACTION',
      `${what} inside ${scope.kind === 'handler' ? 'a handler: use its ctx.tx (manual: ctx.transaction())' : 'a transaction: use its tx'}; a second one would wait for the first`,
    );
  };

  /** Counted, so that stop() waits for the blocks that run. */
  const counted = async <R>(work: () => Promise<R>): Promise<R> => {
    userTransactions++;
    try {
      return await work();
    } finally {
      userTransactions--;
    }
  };

  const transaction = async <R>(work: (tx: Tx) => Promise<R>, how: { attempts?: number } = {}): Promise<R> => {
    checkOpen('transaction');
    refuseNested('transaction');
    checkWords('transaction', how, ['attempts']);
    if (typeof work !== 'function') throw new WaybillError('INVALID_OPTION', 'transaction takes a function: async (tx) => { … }');
    const { store } = await wiring.rooms();
    const block = (tx: StoreTransaction): Promise<R> =>
      scopes.run({ kind: 'transaction', tx, cause: undefined }, () => work(tx.native as Tx));
    return counted(() => transact(store, clock, block, how.attempts));
  };

  // --- life -----------------------------------------------------------------------------------------------------------

  const start = (): Promise<void> => {
    if (stopped) return Promise.reject(new WaybillError('STOPPED', 'start after stop(): create another bus'));
    started ??= wiring.start().then(
      () => {
        if (options.handleSignals) listenForExit();
      },
      (error: unknown) => {
        started = undefined;
        throw error;
      },
    );
    return started;
  };

  const listenForExit = (): void => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      /** Whoever still listens (another bus that drains, say) ends the process itself. */
      const leave = (): void => {
        process.removeListener(name, listener);
        if (process.listenerCount(name) === 0) process.kill(process.pid, name);
      };
      let heard = false;
      const listener = (): void => {
        if (heard) return leave(); // somebody is impatient
        heard = true;
        void bus.stop().then(leave);
      };
      process.on(name, listener);
      exitHandlers.push(() => process.removeListener(name, listener));
    }
  };

  const stop = async (how: { drainMs?: number } = {}): Promise<void> => {
    checkWords('stop', how, ['drainMs']);
    const { drainMs = drainDefaultMs } = how;
    if (!Number.isFinite(drainMs) || drainMs < 0) {
      throw new WaybillError('INVALID_OPTION', `stop: drainMs must be a number of milliseconds from 0 on, not ${told(drainMs)}`);
    }
    stopped ??= (async () => {
      await started?.catch(() => {});
      const deadline = clock.monotonic() + drainMs;
      while (userTransactions > 0 && clock.monotonic() < deadline) await sleep(clock, 5);
      await wiring.stop(Math.max(0, deadline - clock.monotonic()));
      for (const remove of exitHandlers) remove();
    })();
    return stopped;
  };

  const health = async (): Promise<Health> => {
    const checks: { name: string; ok: boolean; detail?: string }[] = [];
    const check = async (name: string, look: () => Promise<unknown> | void): Promise<void> => {
      try {
        await look();
        checks.push({ name, ok: true });
      } catch (error) {
        checks.push({ name, ok: false, detail: (error as Error).message });
      }
    };
    const must = (ok: boolean, why: string): void => {
      if (!ok) throw new Error(why);
    };
    await check('started', () => must(started !== undefined && !stopped, stopped ? 'stopped' : 'not started'));
    if (!stopped) {
      await check('store', async () => (await wiring.rooms()).store.ports.inbox.has('', { source: '', id: '' }));
      await check('transport', () => must(wiring.transportUp(), 'not connected; it is tried again'));
      // to be looked at, and no reason to send nobody here: messages leave
      if (options.relay === 'log') await check('log', () => must(wiring.slotTrouble() === undefined, `${wiring.slotTrouble()}; messages come from the ledger until it is read again`));
    }
    return { live: !stopped, ready: checks.every(({ ok, name }) => ok || name === 'log'), checks };
  };

  const internals: BusInternals = {
    service,
    clock,
    signals,
    horizonMs: options.horizonMs,
    store: async () => (await wiring.rooms()).store,
    async transport() {
      await wiring.rooms();
      return wiring.transport();
    },
    topology: wiring.topology,
    failures: async () => (await wiring.rooms()).failures,
    subscriptions: () => wiring.subscriptions().map((one) => ({ plan: one.plan, ...one.progress(), beganMs: beganMsOf(one.begunAt) })),
    look: async (name) => wiring.subscriptions().find((one) => one.name === name)?.look(),
    duplicates: (name) => duplicates.get(name) ?? 0,
    async history() {
      await wiring.rooms();
      return wiring.history();
    },
    async republish(messages) {
      const { store, outbox } = await wiring.rooms();
      await transact(store, clock, (tx) => outbox.append(tx, [{ messages, later: undefined }]));
    },
    sagas: () => wiring.sagas(),
    async resumeSaga(saga, key) {
      const running = wiring.subscriptions().find(({ plan, removed }) => plan.name === saga && plan.resume && !removed);
      if (!running) throw new WaybillError('INVALID_OPTION', `this bus runs no saga ${saga}`);
      await wiring.rooms();
      return running.plan.resume!(key);
    },
    wake: () => wiring.wake(),
    inFlight: () => wiring.inFlight() + userTransactions,
    outstanding: async (ports) => (await Promise.all(wiring.annexes().map((annex) => annex.outstanding(ports)))).filter((what) => what !== undefined),
    attach: (make) => wiring.attach(make),
    desk: {
      check: async (contract, data) => checkData(contract, data),
      async target(given, what) {
        checkOpen(what);
        const scope = scopes.current();
        const { store, requireTransaction } = await wiring.rooms();
        return targetOf(given, scope, store, requireTransaction, what);
      },
      async own(work) {
        const { store } = await wiring.rooms();
        return counted(() => transact(store, clock, work));
      },
      async publish(tx, drafts) {
        const { outbox } = await wiring.rooms();
        const cause = scopes.current()?.cause;
        const prepared = await room.prepareAll(drafts.map(unpreparedOf), cause);
        await outbox.append(tx, prepared);
        return prepared.map(publishedOf);
      },
      cause: () => scopes.current()?.cause,
      track: (work) => scopes.track(() => work),
      wake() {
        for (const annex of wiring.annexes()) annex.wake();
      },
    },
  };

  const bus = {
    service,
    publish: (contract: unknown, data: unknown, how?: object) => scopes.track(() => publishOne('event', contract, data, how)),
    send: (contract: unknown, data: unknown, how?: object) => scopes.track(() => publishOne('command', contract, data, how)),
    publishAll: (drafts: readonly Draft[], how: { tx?: unknown } = {}) => scopes.track(() => publishMany(drafts, how)),
    async request(contract: unknown, data: unknown, how: { timeoutMs: number; signal?: AbortSignal; headers?: Record<string, string> }) {
      checkOpen('request');
      if (scopes.current()) {
        throw new WaybillError('REQUEST_IN_TRANSACTION', 'request inside a transaction or handler: it would leave at commit, so the reply could never come; use a saga, or ask before');
      }
      const definition = definitionOf(contract);
      if (definition.kind !== 'command') throw new WaybillError('INVALID_CONTRACT', `${definition.type} is an event: nobody replies to it`);
      const { outbox, replyAddress } = await wiring.rooms();
      checkWords('request', how, ['timeoutMs', 'signal', 'headers']);
      const { timeoutMs, signal, headers } = how;
      const id = clock.id();
      const over = new AbortController();
      // First of all: what is refused is not sent, and a broker that is away is not waited for any longer.
      const reply = wiring.requests.wait(id, definition.type, timeoutMs, signal ? AbortSignal.any([signal, over.signal]) : over.signal);
      reply.catch(() => over.abort());
      const leave = async (): Promise<unknown> => {
        const ask: PrepareOptions = { id, replyTo: await replyAddress(), ttlMs: timeoutMs, ...(headers && { headers }) };
        const prepared = await room.prepare(definition, data, ask, undefined);
        if (!over.signal.aborted) await outbox.appendOwn([prepared]);
        return reply;
      };
      let value: unknown;
      try {
        value = await Promise.race([reply, leave()]);
      } finally {
        over.abort();
      }
      if (!definition.reply) return undefined;
      const result = await validate(definition.reply, value, `the reply to ${definition.type}`);
      if (!result.issues) return result.value as unknown;
      throw new WaybillError('REPLY_FAILED', `the reply to ${definition.type} does not fit its contract: ${describeIssues(result.issues)}`);
    },
    async cancel(id: string, how: { tx?: unknown } = {}) {
      checkOpen('cancel');
      checkId(id, 'cancel: the id');
      checkWords('cancel', how, ['tx']);
      const scope = scopes.current();
      const { store } = await wiring.rooms();
      const tx = targetOf(how.tx, scope, store, false, 'cancel');
      const take = (within: StoreTransaction): boolean | Promise<boolean> => store.ports.waiting.cancel(within, id);
      return tx ? take(tx) : transact(store, clock, take);
    },
    async schedule(name: string, when: unknown, draft: Draft): Promise<Schedule> {
      checkOpen('schedule');
      refuseNested('schedule');
      const contract = definitionOfDraft(draft);
      const { data, options: how } = draft;
      if (how.id !== undefined || how.deliverAt !== undefined) throw new WaybillError('INVALID_OPTION', `schedule ${name}: each time is a message of its own, so the draft has neither id nor deliverAt`);
      const prepare = async (id: string): Promise<Prepared> => room.prepare(contract, data, { ...how, id }, undefined);
      await prepare('checked'); // what does not fit is refused here, and not at night
      const { schedules } = await wiring.rooms();
      await schedules.set(name, when, { type: contract.type, kind: contract.kind, prepare });
      return { name, cancel: () => schedules.remove(name) };
    },
    subscribe: (contract: unknown, a: unknown, b?: unknown) => subscribeTo(contract, 'event', a, b, false),
    subscribeBatch: (contract: unknown, how: unknown, handler: unknown) => subscribeTo(contract, 'event', how, handler, true),
    handle: (contract: unknown, a: unknown, b?: unknown) => subscribeTo(contract, 'command', a, b, false),
    subscription,
    run,
    transaction,
    async once(scope: string, key: string, work: (tx: Tx) => Promise<unknown>, how = {}) {
      checkOpen('once');
      refuseNested('once');
      checkWords('once', how, ['fingerprint', 'retainMs', 'attempts']);
      const { once } = await wiring.rooms();
      return counted(() => once(scope, key, work as (tx: unknown) => Promise<unknown>, how));
    },
    async lockKey(contract: unknown, data: unknown, how: { tx: unknown }) {
      const definition = definitionOf(contract);
      checkWords('lockKey', how, ['tx']);
      const { store } = await wiring.rooms();
      const tx = store.join(how.tx);
      const { key } = await checkData(definition, data);
      if (key === undefined) throw new WaybillError('INVALID_CONTRACT', `${definition.type} has no key: lockKey needs one`);
      await store.ports.outbox.lockKey(tx, key);
    },
    async caughtUp(token: string, how: { timeoutMs: number }) {
      const content = readToken(token);
      checkWords('caughtUp', how, ['timeoutMs']);
      return (await wiring.rooms()).freshness.caughtUp(content, how.timeoutMs);
    },
    freshness: async (source?: string) => (await wiring.rooms()).freshness.list(source),
    use(layer: Middleware) {
      const parts = typeof layer === 'object' && layer !== null ? Object.entries(layer) : [];
      if (parts.length === 0 || parts.some(([name, part]) => !['publish', 'handle'].includes(name) || (part !== undefined && typeof part !== 'function'))) {
        throw new WaybillError('INVALID_OPTION', 'use takes { publish?, handle? }, two functions');
      }
      wiring.middleware.push(layer);
    },
    on: signals.on,
    start,
    stop,
    health,
    [Symbol.asyncDispose]: () => stop(),
    [internalsKey]: internals,
  };
  return bus as unknown as Bus<Tx>;
}

function unpreparedOf(draft: Draft): Unprepared {
  return { contract: definitionOfDraft(draft), data: draft.data, options: draft.options };
}

function aKind({ kind }: ContractDefinition): string {
  return kind === 'event' ? 'an event' : 'a command';
}
