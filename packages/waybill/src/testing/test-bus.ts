/**
 * A bus for tests: SQLite in memory, a memory transport, and time that stands still until the test moves it. It is the
 * real bus on another ground. What is wrapped are its clock, its store and its transport: so the test knows when nothing
 * is going on any more, sees what was published, and can let the process die at a point of its choice.
 */
import type { Bus, Middleware, Subscription } from '../contract/api.ts';
import { WaybillError } from '../contract/errors.ts';
import { type BusInternals, internalsKey, internalsOf } from '../contract/internals.ts';
import type { WireMessage } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';
import type { SqlTransaction } from '../contract/transaction.ts';
import { createSignals } from '../observe/signals.ts';
import type { HistoryEntry, TestBus, TestBusOptions } from './api.ts';
import { type CrashPoint, checkCrashPoint } from './crash-points.ts';
import { createInhabitant } from './inhabitant.ts';
import { currentLife, never } from './life.ts';
import { createLives } from './lives.ts';
import { dataIn } from './published.ts';
import { createUserCode } from './user-code.ts';
import { worldOf } from './world.ts';

/** Entries of the history that are kept: the newest. */
const historyMax = 100_000;
const failuresMax = 1_000;

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
  const paused = new Set<string>();
  let wanted = autoStart;

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

  const lives = createLives<Tx>({
    options: { ...rest, service },
    world,
    signals,
    rerun,
    recorded: (more) => void messages.push(...more),
    died: (point) => record({ signal: 'crashed', detail: { point }, atMs: clock.monotonic() }),
  });
  const userCode = createUserCode({ service, life: () => lives.now.life, onActivity: () => world.active() });
  const inhabitant = createInhabitant({ service, lives, userCode, wanted: () => wanted, relays: rest.relay !== 'off', paused });
  world.inhabitants.add(inhabitant);

  /** Something that the test or a handler asks of the bus: of the life it belongs to, or it never comes back. */
  const ask = async <R>(work: (bus: Bus<Tx>) => Promise<R>): Promise<R> => {
    const caller = currentLife();
    if (caller?.dead) return never(); // the code of a process that died
    if (!caller && !lives.stopping && !world.isAwake()) await world.awake();
    const { life, bus } = lives.now;
    return life.wait(() => life.within(() => work(bus)));
  };

  /** As the bus of this life has it, and every later one. */
  const registered = (register: (bus: Bus<Tx>) => Subscription): Subscription => {
    const first = register(lives.now.bus); // refused here, or not at all
    const index = lives.register(register, first);
    const current = (): Subscription => lives.now.subscriptions[index] ?? first;
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
        lives.replace(index, () => first);
      },
    };
  };

  const handlerName = (contract: { type?: string } | undefined): string => `a handler of ${contract?.type ?? 'something'}`;
  const withOptions = (contract: any, a: any, b: any): [any, any?] =>
    typeof a === 'function'
      ? [userCode.counted(handlerName(contract), a)]
      : [a?.onFailed ? { ...a, onFailed: userCode.counted(`onFailed of ${contract?.type}`, a.onFailed) } : a, userCode.counted(handlerName(contract), b)];

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
      lives.register((real) => void real.schedule(...given).catch(() => {}), undefined);
      return ask((real) => real.schedule(...given));
    },
    lockKey: (...given: [any, any, any]) => ask((real) => real.lockKey(...given)),
    caughtUp: (...given: [any, any]) => ask((real) => real.caughtUp(...given)),
    freshness: (...given: [any?]) => ask((real) => real.freshness(...given)),
    transaction: (work: any, how?: any) => ask((real) => real.transaction(userCode.counted('a transaction block', work), how)),
    once: (scope: any, key: any, work: any, how?: any) => ask((real) => real.once(scope, key, userCode.counted('a block of once', work), how)),
    health: () => lives.now.bus.health(),

    subscribe: (contract: any, a: any, b?: any) => registered((real) => (real as any).subscribe(contract, ...withOptions(contract, a, b))),
    subscribeBatch: (contract: any, how: any, handler: any) =>
      registered((real) => real.subscribeBatch(contract, how, userCode.counted(handlerName(contract), handler))),
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
          const whole = userCode.counted(handlerName(event), handler);
          const index = lives.now.subscriptions.findIndex((other) => other?.name === one.name);
          (lives.now.subscriptions[index] as any).on(event, whole);
          events.push([event, whole]);
          return multi;
        },
      };
      return multi;
    },
    run: (saga: any, how?: any) => registered((real) => real.run(saga, how)),
    use(layer: Middleware) {
      lives.now.bus.use(layer);
      lives.register((real) => real.use(layer), undefined);
    },
    on: plain.on,

    async start() {
      wanted = true;
      if (lives.stopping) return lives.now.bus.start(); // says no
      await world.drive(inhabitant.awake());
    },
    stop(how?: { drainMs?: number }) {
      return world.drive(lives.stop(how).then(() => void world.inhabitants.delete(inhabitant)));
    },
    [Symbol.asyncDispose]: () => bus.stop(),

    settled: () => world.settled(),
    published: (contract: unknown) => dataIn(messages, contract),
    sent: (contract: unknown) => dataIn(messages, contract),
    messages: () => [...messages],
    async failures() {
      await inhabitant.awake();
      return (await internalsOf(lives.now.bus).store()).ports.inspect.failures({ limit: failuresMax });
    },
    async redeliver(id: string) {
      await world.awake();
      const count = [...world.inhabitants].reduce((sum, one) => sum + one.redeliver(id), 0);
      if (count === 0) throw new WaybillError('INVALID_ID', `redeliver: no subscription has been given a message ${JSON.stringify(id)}; pass the id that publish returned, after settled()`);
      await world.settled();
    },
    advance: (ms: number) => world.advance(ms),
    crashAfter(point: CrashPoint, nth = 1) {
      checkCrashPoint(point, nth);
      lives.arm(point, nth);
    },
    crash: () => lives.die(undefined),
    history: () => [...history],
    get [internalsKey](): BusInternals {
      return {
        ...internalsOf(lives.now.bus),
        attach(make) {
          internalsOf(lives.now.bus).attach(make);
          lives.register((real) => internalsOf(real).attach(make), undefined);
        },
      };
    },
  };
  return bus as unknown as TestBus<Tx>;
}
