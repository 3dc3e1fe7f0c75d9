/**
 * A bus for tests: SQLite in memory, a memory transport, and time that stands still until the test moves it. It is the
 * real bus on another ground. What is wrapped are its clock, its store and its transport: so the test knows when nothing
 * is going on any more, sees what was published, and can let the process die at a point of its choice.
 */
import { type FindingCode, findingCodes } from '../contract/doctor.ts';
import type { Bus, BusOptions, Middleware, Subscription } from '../contract/api.ts';
import { assembleBus } from '../bus.ts';
import { type CommandContract, type ContractDefinition, type EventContract, definitionOf } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { type BusInternals, internalsKey, internalsOf } from '../contract/internals.ts';
import { readJson } from '../contract/json.ts';
import { describeIssues } from '../contract/schema.ts';
import type { Logger, SignalMap, SignalName, Signals } from '../contract/signals.ts';
import type { FailedRow, Host, Store, StoreSession } from '../contract/store.ts';
import type { WireMessage } from '../contract/message.ts';
import type { SqlTransaction } from '../contract/transaction.ts';
import type { Transport, TransportSession } from '../contract/transport.ts';
import { loadStore, loadTransport } from '../drivers.ts';
import { createSignals } from '../observe/signals.ts';
import { memory } from '../transports/memory/index.ts';
import { type VirtualClock, virtualClock } from './clock.ts';
import { type CrashPoint, checkCrashPoint } from './crash-points.ts';
import { type Life, createLife, currentLife, never } from './life.ts';
import { watchStore } from './store.ts';
import { type Remembered, type Tap, watchTransport } from './transport.ts';
import { type Inhabitant, type World, createWorld } from './world.ts';

export interface TestBusOptions<Tx = SqlTransaction> extends Omit<BusOptions<Tx>, 'service' | 'handleSignals'> {
  /** @default every finding: what tests run on may forget */
  accept?: readonly FindingCode[];
  /** @default 'test' */
  service?: string;
  /** Factory or URL; the environment is not asked. @default SQLite in memory */
  store?: Store<Tx> | string;
  /**
   * Factory or URL; the environment is not asked. Test buses that are given the same value talk to each other, on one
   * clock. @default a memory transport of its own
   */
  transport?: Transport | string;
  /** A clock to share with buses on other transports. @default that of the transport, else a new one */
  clock?: VirtualClock;
  /** Every block and every handler's transaction runs twice, the first time rolled back. @default false */
  rerun?: boolean;
  /** Whether the first use starts the bus, together with those it shares its clock with. @default true */
  autoStart?: boolean;
}

/** What happened, in order: every signal of the bus, and its deaths. */
export type HistoryEntry = {
  [N in SignalName]: { readonly signal: N; readonly detail: SignalMap[N]; readonly atMs: number };
}[SignalName] | { readonly signal: 'crashed'; readonly detail: { readonly point: CrashPoint | undefined }; readonly atMs: number };

export interface TestBus<out Tx = unknown> extends Bus<Tx> {
  readonly clock: VirtualClock;
  /**
   * Resolves when nothing is in flight and nothing is due, in all buses that share the clock: ledgers sent, queues
   * empty, nothing received and unsettled, nothing that waits due. No sleeps. Virtual time stands still, unless
   * something hangs on it that is due now (a lease whose holder died, a pause after trouble): then up to 15 s go by.
   * @throws NotSettled with what is still going on, when that does not come to an end
   */
  settled(): Promise<void>;
  /** The data of what this bus has published of an event, as a handler would get it, in order of commit. */
  published<O>(event: EventContract<string, any, O, string>): O[];
  /** The data of what this bus has sent of a command, as its handler would get it, in order of commit. */
  sent<O>(command: CommandContract<string, any, O, any, any>): O[];
  /** Everything that this bus has committed to its ledger, in order, as bytes and headers. */
  messages(): readonly WireMessage[];
  /** What was given up, with its original bytes: the first 1,000. */
  failures(): Promise<readonly FailedRow[]>;
  /**
   * Delivers a message again to every subscription that took it, of all buses that share the clock, then settles.
   * @throws WaybillError `INVALID_ID` when none did
   */
  redeliver(id: string): Promise<void>;
  /** Lets virtual time go by, for all buses that share the clock: timers fire in the order they are due. Then settles what can. */
  advance(ms: number): Promise<void>;
  /**
   * The next time that this point is reached the process dies: nothing of this bus goes on, what it had promised never
   * comes (so do not await the call that dies: `void bus.publish(…); await bus.settled()`), its open transaction is
   * rolled back, its consumers are gone. Then it lives again, with the same subscriptions, on the same store and transport.
   * @param nth at which time of reaching it, from 1. @default 1
   * @throws WaybillError `INVALID_OPTION` when there is no such point
   */
  crashAfter(point: CrashPoint, nth?: number): void;
  /** The process dies now, as above. */
  crash(): void;
  /** Every signal so far, in order, with the virtual time in milliseconds since the clock began. */
  history(): readonly HistoryEntry[];
}

/** Entries of the history that are kept: the newest. */
const historyMax = 100_000;
const failuresMax = 1_000;

/** Buses meet on the transport's value, or on the clock's. */
const worlds = new WeakMap<object, World>();

function worldOf({ clock, transport }: { clock?: VirtualClock; transport?: unknown }): World {
  const keys = [clock, transport].filter((key) => typeof key === 'object' && key !== null);
  const known = new Set(keys.map((key) => worlds.get(key)).filter((world) => world !== undefined));
  const world = [...known][0] ?? createWorld(clock ?? virtualClock());
  if (known.size > 1 || (clock && world.clock !== clock)) {
    throw new WaybillError('INVALID_OPTION', 'createTestBus: this transport has a clock already; leave `clock` out, or give all its buses the same');
  }
  for (const key of keys) worlds.set(key, world);
  return world;
}

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * Creates a bus for tests. Its first use (publish, send, request, transaction, once, settled, advance, …) starts it,
 * and with it all test buses on the same clock; `start()` may be called too.
 * @throws WaybillError as `createBus`
 */
export function createTestBus<Tx = SqlTransaction>(options: TestBusOptions<Tx> = {}): TestBus<Tx> {
  const { clock: givenClock, rerun = false, autoStart = true, ...rest } = options;
  const service = options.service ?? 'test';
  const world = worldOf({ ...(givenClock && { clock: givenClock }), transport: options.transport });
  const { clock } = world;

  const messages: WireMessage[] = [];
  const history: HistoryEntry[] = [];
  const remembered: Remembered = new Map();
  const registrations: ((bus: Bus<Tx>) => Subscription | void)[] = [];
  let armed: { point: CrashPoint; left: number }[] = [];
  let wanted = false;
  let stopping: Promise<void> | undefined;
  let restarting: Promise<void> | undefined;

  const record = (entry: HistoryEntry): void => {
    history.push(entry);
    if (history.length > historyMax) history.shift();
    world.active();
  };
  const plain = createSignals();
  const signals: Signals = {
    ...plain,
    has: () => true,
    emit(name, detail) {
      record({ signal: name, detail, atMs: clock.monotonic() } as HistoryEntry);
      plain.emit(name, detail);
    },
  };

  // --- store and transport, for all lives -------------------------------------------------------------------------------

  let opened: Promise<StoreSession<Tx>> | undefined;
  const openStore = (host: Host): Promise<StoreSession<Tx>> => {
    const given = options.store ?? 'sqlite::memory:';
    opened ??= (async () => {
      const store = typeof given === 'string' ? ((await loadStore({ service, store: given }, {})) as Store<Tx>) : given;
      return store.open({ ...host, clock, signals });
    })();
    opened.catch(() => {
      opened = undefined; // the next try opens again
    });
    return opened;
  };

  let driver: Promise<Transport> | undefined;
  const theTransport = (): Promise<Transport> => {
    const given = options.transport ?? memory();
    return (driver ??= typeof given === 'string' ? loadTransport({ service, transport: given }, {}) : Promise.resolve(given));
  };

  // --- lives ------------------------------------------------------------------------------------------------------------

  interface Incarnation {
    readonly life: Life;
    readonly bus: Bus<Tx>;
    readonly subscriptions: (Subscription | undefined)[];
    readonly sessions: TransportSession[];
    readonly taps: Tap[];
    started: Promise<void> | undefined;
  }

  const reach = (life: Life) => (point: CrashPoint): boolean => {
    if (life.dead) return true;
    const hit = armed.find((one) => one.point === point && --one.left <= 0);
    if (!hit) return false;
    armed = armed.filter((one) => one !== hit);
    die(point);
    return true;
  };

  const instance = `instance ${++instances}`;
  const incarnate = (): Incarnation => {
    const life = createLife({ clock, signals, onActivity: () => world.active() });
    const sessions: TransportSession[] = [];
    const taps: Tap[] = [];
    const store: Store<Tx> = {
      kind: 'test',
      fromClient: typeof options.store === 'object' && options.store.fromClient,
      async open(host) {
        const real = await openStore(host);
        return watchStore(real, { life, reach: reach(life), rerun, ports: real.ports, recorded: (more) => void messages.push(...more) });
      },
    };
    const transport: Transport = {
      kind: 'test',
      async connect(host) {
        // On the clock of the world: the other side lives on, and closes what the dead left open.
        const session = await (await theTransport()).connect({ ...host, clock });
        sessions.push(session);
        return watchTransport(session, { life, reach: reach(life), remembered, tapped: (tap) => void taps.push(tap) });
      },
    };
    const bus = assembleBus<Tx>(
      { logger: silent, accept: findingCodes, ...rest, service, store, transport },
      { clock: life.clock, signals: life.signals, env: {}, instance },
    );
    const incarnation: Incarnation = { life, bus, subscriptions: [], sessions, taps, started: undefined };
    for (const register of registrations) incarnation.subscriptions.push(register(bus) ?? undefined);
    return incarnation;
  };

  let now = incarnate();

  const die = (point: CrashPoint | undefined): void => {
    const dying = now;
    if (dying.life.dead || stopping) return;
    dying.life.end();
    record({ signal: 'crashed', detail: { point }, atMs: clock.monotonic() });
    restarting = (async () => {
      await new Promise((resolve) => setImmediate(resolve)); // its transaction is rolled back
      for (const session of dying.sessions) await session.close(); // the other side notices that nobody is there
      now = incarnate();
      restarting = undefined;
      if (dying.started) await startNow();
    })();
    restarting.catch(() => {}); // heard by whoever uses the bus next
  };

  /** Resolves also when that life ends before it was up. */
  const startNow = (): Promise<void> => {
    const { life, bus } = now;
    now.started ??= orDeath(life, life.within(() => bus.start())).catch((error: unknown) => {
      now.started = undefined;
      throw error;
    });
    return now.started;
  };

  // --- what the world asks ----------------------------------------------------------------------------------------------

  const userCode = new Map<object, { readonly name: string; readonly life: Life }>();
  const userCodeNow = (): string[] => [...userCode.values()].filter(({ life }) => !life.dead).map(({ name }) => `${service}: ${name} runs`);
  /** User code that runs, so that nobody moves the time meanwhile. */
  const counted = <F extends ((...given: any[]) => unknown) | undefined>(name: string, fn: F): F => {
    if (typeof fn !== 'function') return fn; // refused by the bus
    return (async (...given: unknown[]) => {
      const life = now.life;
      const run = {};
      userCode.set(run, { name, life });
      world.active();
      const over = (): void => {
        userCode.delete(run);
        world.active();
      };
      // A handler whose time is up is nobody's any more, also if its code goes on.
      (given[1] as { signal?: AbortSignal } | undefined)?.signal?.addEventListener('abort', over, { once: true });
      try {
        return await fn(...given);
      } finally {
        over();
        if (life.dead) await never();
      }
    }) as F;
  };

  /** The life that is known to be up, with so many subscriptions. */
  let up: Incarnation | undefined;
  let upSubscriptions = 0;
  const awake = async (): Promise<void> => {
    while (!stopping && !currentLife() && (wanted || autoStart)) {
      while (restarting) await restarting;
      const mine = now;
      await startNow();
      const count = mine.subscriptions.length;
      for (const subscription of mine.subscriptions) if (subscription) await orDeath(mine.life, subscription.ready());
      if (mine.life.dead) continue; // it died meanwhile
      up = mine;
      upSubscriptions = count;
      return;
    }
  };

  const inhabitant: Inhabitant = {
    awake,
    isAwake: () => !restarting && now === up && now.subscriptions.length === upSubscriptions,
    running() {
      if (stopping || restarting) return restarting ? [`${service}: it starts again`] : [];
      const open = internalsOf(now.bus).inFlight();
      return [
        ...userCodeNow(),
        ...(now.life.busy > 0 ? [`${service}: ${now.life.busy} operations on store and transport are under way (${open} messages in hand)`] : []),
      ];
    },
    runningUserCode: () => (stopping ? [] : userCodeNow()),
    async outstanding() {
      if (stopping || !now.started) return [];
      const { bus, taps } = now;
      const internals = internalsOf(bus);
      const { ports } = await openStore(undefined as never);
      const found: string[] = [];
      const relay = rest.relay !== 'off';
      if (internals.inFlight() > 0) found.push(`${service}: ${internals.inFlight()} messages are in hand`);
      const { publishesAtCommit: atCommit = false, exclusive = false } = now.sessions.at(-1)?.capabilities ?? {};
      const { ready } = await ports.inspect.counts();
      if (relay && !atCommit && ready > 0) found.push(`${service}: ${ready} messages of the ledger are not sent`);
      if (relay) {
        const { rows } = await ports.waiting.due(undefined, 'now', 1);
        if (rows.length > 0) found.push(`${service}: a delayed message is due`);
      }
      found.push(...(await internals.outstanding(ports)));
      for (const { plan, active, sources } of internals.subscriptions()) {
        if (!active || paused.has(plan.name)) continue;
        const queued = sources.reduce((sum, source) => sum + (source.waiting ?? 0), 0);
        if (queued > 0) found.push(`${plan.name}: ${queued} messages are queued`);
        const { rows } = await ports.waiting.due(plan.name, 'now', 1, exclusive ? plan.name : instance);
        if (rows.length > 0) found.push(`${plan.name}: a message that waited is due (${rows[0]!.reason}, attempt ${rows[0]!.attempt})`);
        const again = taps.reduce((sum, tap) => sum + (tap.subscription === plan.name ? tap.waiting : 0), 0);
        if (again > 0) found.push(`${plan.name}: ${again} messages are to be delivered again`);
      }
      return found;
    },
  };
  world.inhabitants.add(inhabitant);

  // --- the bus ----------------------------------------------------------------------------------------------------------

  const paused = new Set<string>();

  /** Something that the test or a handler asks of the bus: of the life it belongs to, or it never comes back. */
  const ask = async <R>(work: (bus: Bus<Tx>) => Promise<R>): Promise<R> => {
    const caller = currentLife();
    if (caller?.dead) return never(); // the code of a process that died
    if (!caller && !stopping && !world.isAwake()) await world.awake();
    const { life, bus } = now;
    return life.wait(() => life.within(() => work(bus)));
  };

  /** As the bus of this life has it, and every later one. */
  const registered = (register: (bus: Bus<Tx>) => Subscription): Subscription => {
    const first = register(now.bus); // refused here, or not at all
    const index = registrations.push(register) - 1;
    now.subscriptions[index] = first;
    const current = (): Subscription => now.subscriptions[index] ?? first;
    return {
      name: first.name,
      ready: () => ask(() => current().ready()),
      async pause() {
        paused.add(first.name);
        await current().pause();
      },
      async resume() {
        paused.delete(first.name);
        await current().resume();
      },
      async unsubscribe(how) {
        await ask(() => current().unsubscribe(how));
        registrations[index] = () => first;
      },
    };
  };

  const read = (contract: unknown): unknown[] => {
    const definition = definitionOf(contract);
    return messages.filter((message) => message.type === definition.type && message.kind === definition.kind).map((message) => dataOf(definition, message));
  };

  const handlerName = (contract: { type?: string } | undefined): string => `a handler of ${contract?.type ?? 'something'}`;
  const withOptions = (contract: any, a: any, b: any): [any, any?] =>
    typeof a === 'function'
      ? [counted(handlerName(contract), a)]
      : [a?.onFailed ? { ...a, onFailed: counted(`onFailed of ${contract?.type}`, a.onFailed) } : a, counted(handlerName(contract), b)];

  const bus = {
    service,
    clock,
    publish: (...given: [any, any, any?]) => ask((real) => real.publish(...given)),
    send: (...given: [any, any, any?]) => ask((real) => real.send(...given)),
    publishAll: (...given: [any, any?]) => ask((real) => real.publishAll(...given)),
    request: (...given: [any, any, any]) => ask((real) => real.request(...given)),
    cancel: (...given: [any, any?]) => ask((real) => real.cancel(...given)),
    schedule(...given: [any, any, any]) {
      // Each life begins with it, as the code of a process would.
      registrations.push((real) => void real.schedule(...given).catch(() => {}));
      now.subscriptions.push(undefined);
      return ask((real) => real.schedule(...given));
    },
    lockKey: (...given: [any, any, any]) => ask((real) => real.lockKey(...given)),
    caughtUp: (...given: [any, any]) => ask((real) => real.caughtUp(...given)),
    freshness: (...given: [any?]) => ask((real) => real.freshness(...given)),
    transaction: (work: any, how?: any) => ask((real) => real.transaction(counted('a transaction block', work), how)),
    once: (scope: any, key: any, work: any, how?: any) => ask((real) => real.once(scope, key, counted('a block of once', work), how)),
    health: () => now.bus.health(),

    subscribe: (contract: any, a: any, b?: any) => registered((real) => (real as any).subscribe(contract, ...withOptions(contract, a, b))),
    subscribeBatch: (contract: any, how: any, handler: any) =>
      registered((real) => real.subscribeBatch(contract, how, counted(handlerName(contract), handler))),
    handle: (contract: any, a: any, b?: any) => registered((real) => (real as any).handle(contract, ...withOptions(contract, a, b))),
    subscription(name: string, how?: any) {
      const events: [any, any][] = [];
      const one = registered((real) => {
        const multi = real.subscription(name, how);
        for (const [event, handler] of events) (multi as any).on(event, handler);
        return multi;
      });
      const multi = {
        ...one,
        on(event: any, handler: any) {
          const whole = counted(handlerName(event), handler);
          const index = now.subscriptions.findIndex((other) => other?.name === one.name);
          (now.subscriptions[index] as any).on(event, whole);
          events.push([event, whole]);
          return multi;
        },
      };
      return multi;
    },
    run: (saga: any, how?: any) => registered((real) => real.run(saga, how)),
    use(layer: Middleware) {
      now.bus.use(layer);
      registrations.push((real) => real.use(layer));
      now.subscriptions.push(undefined);
    },
    on: plain.on,

    async start() {
      wanted = true;
      if (stopping) return now.bus.start(); // says no
      await world.drive(awake());
    },
    stop(how?: { drainMs?: number }) {
      stopping ??= (async () => {
        while (restarting) await restarting.catch(() => {});
        await now.bus.stop(how);
        await (await opened?.catch(() => undefined))?.close();
        world.inhabitants.delete(inhabitant);
      })();
      return world.drive(stopping);
    },
    [Symbol.asyncDispose]: () => bus.stop(),

    settled: () => world.settled(),
    published: read,
    sent: read,
    messages: () => [...messages],
    async failures() {
      await awake();
      return (await internalsOf(now.bus).store()).ports.inspect.failures({ limit: failuresMax });
    },
    async redeliver(id: string) {
      await world.awake();
      const count = [...world.inhabitants].reduce((sum, one) => sum + (redeliverers.get(one)?.(id) ?? 0), 0);
      if (count === 0) throw new WaybillError('INVALID_ID', `redeliver: no subscription has been given a message ${JSON.stringify(id)}; pass the id that publish returned, after settled()`);
      await world.settled();
    },
    advance: (ms: number) => world.advance(ms),
    crashAfter(point: CrashPoint, nth = 1) {
      checkCrashPoint(point, nth);
      armed.push({ point, left: nth });
    },
    crash: () => die(undefined),
    history: () => [...history],
    get [internalsKey](): BusInternals {
      return {
        ...internalsOf(now.bus),
        attach(make) {
          internalsOf(now.bus).attach(make);
          registrations.push((real) => internalsOf(real).attach(make));
          now.subscriptions.push(undefined);
        },
      };
    },
  };
  redeliverers.set(inhabitant, (id) => now.taps.reduce((sum, tap) => sum + tap.redeliver(id), 0));
  return bus as unknown as TestBus<Tx>;
}

/** What a life was waiting for when it ended is waited for no more. */
async function orDeath(life: Life, work: Promise<void>): Promise<void> {
  try {
    await Promise.race([work, life.death]);
  } catch (error) {
    if (!life.dead) throw error;
  }
}

/** Lives of one test bus are one instance; two test buses of a service are two. */
let instances = 0;
const redeliverers = new WeakMap<Inhabitant, (id: string) => number>();

const text = new TextDecoder();

/** What a handler of this contract would get. */
function dataOf(contract: ContractDefinition, message: WireMessage): unknown {
  const json = contract.format ? contract.format.decode(message.headers, message.body).json : text.decode(message.body);
  const result = contract.schema['~standard'].validate(readJson(json, contract.type));
  if (result instanceof Promise) {
    throw new WaybillError(
      'CAPABILITY_MISSING',
      `${contract.type} has an asynchronous schema, whose output cannot be had at once: look at messages(), or subscribe to it`,
    );
  }
  if (!result.issues) return result.value as unknown;
  throw new WaybillError('CONTRACT_VIOLATION', `${contract.type}: what was published does not fit: ${describeIssues(result.issues)}`);
}
