/**
 * The lives of one test bus: each is a bus of its own with the same subscriptions, on the store and the transport of them
 * all. One ends where a test lets it, and the next begins; what was never promised by then never comes.
 */
import { assembleBus } from '../bus.ts';
import type { Bus, BusOptions, Subscription } from '../contract/api.ts';
import { findingCodes } from '../contract/doctor.ts';
import type { WireMessage } from '../contract/message.ts';
import type { Logger, Signals } from '../contract/signals.ts';
import type { Host, Store, StoreSession } from '../contract/store.ts';
import type { Transport, TransportSession } from '../contract/transport.ts';
import { loadStore, loadTransport } from '../drivers.ts';
import { memory } from '../transports/memory/index.ts';
import type { CrashPoint } from './crash-points.ts';
import { type Life, createLife } from './life.ts';
import { watchStore } from './store.ts';
import { type Remembered, type Tap, watchTransport } from './transport.ts';
import type { World } from './world.ts';

export interface Incarnation<Tx> {
  readonly life: Life;
  readonly bus: Bus<Tx>;
  /** By the number of their registration; undefined where that was of something else. */
  readonly subscriptions: (Subscription | undefined)[];
  readonly sessions: readonly TransportSession[];
  readonly taps: readonly Tap[];
  started: Promise<void> | undefined;
}

export interface Lives<Tx> {
  readonly now: Incarnation<Tx>;
  /** After a death, until the next life is there. */
  readonly restarting: Promise<void> | undefined;
  readonly stopping: Promise<void> | undefined;
  /** One instance of the service, however often it dies. */
  readonly instance: string;
  /** The session of all lives. */
  store(): Promise<StoreSession<Tx>>;
  /** What each life begins with, as the code of a process would; this one has it. Answers its number. */
  register(again: (bus: Bus<Tx>) => Subscription | void, first: Subscription | undefined): number;
  /** Later lives do this instead. */
  replace(index: number, again: (bus: Bus<Tx>) => Subscription): void;
  /** Starts the life of now. Resolves also when it ends before it was up. */
  start(): Promise<void>;
  /** The life that reaches this point for the nth time from now on dies of it. */
  arm(point: CrashPoint, nth: number): void;
  die(point: CrashPoint | undefined): void;
  stop(how?: { drainMs?: number }): Promise<void>;
}

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Lives of one test bus are one instance; two test buses of a service are two. */
let instances = 0;

export function createLives<Tx>(of: {
  /** Of the bus, with the service that it is. */
  readonly options: Omit<BusOptions<Tx>, 'handleSignals'>;
  readonly world: World;
  readonly signals: Signals;
  readonly rerun: boolean;
  readonly recorded: (messages: readonly WireMessage[]) => void;
  readonly died: (point: CrashPoint | undefined) => void;
}): Lives<Tx> {
  const { options, world, signals } = of;
  const { service } = options;
  const { clock } = world;
  const remembered: Remembered = new Map();
  const registrations: ((bus: Bus<Tx>) => Subscription | void)[] = [];
  const instance = `instance ${++instances}`;
  let armed: { point: CrashPoint; left: number }[] = [];
  let stopping: Promise<void> | undefined;
  let restarting: Promise<void> | undefined;

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

  const reach = (life: Life) => (point: CrashPoint): boolean => {
    if (life.dead) return true;
    const hit = armed.find((one) => one.point === point && --one.left <= 0);
    if (!hit) return false;
    armed = armed.filter((one) => one !== hit);
    die(point);
    return true;
  };

  const incarnate = (): Incarnation<Tx> => {
    const life = createLife({ clock, signals, onActivity: () => world.active() });
    const sessions: TransportSession[] = [];
    const taps: Tap[] = [];
    const store: Store<Tx> = {
      kind: 'test',
      fromClient: typeof options.store === 'object' && options.store.fromClient,
      async open(host) {
        const real = await openStore(host);
        return watchStore(real, { life, reach: reach(life), rerun: of.rerun, ports: real.ports, recorded: of.recorded });
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
      { logger: silent, accept: findingCodes, ...options, store, transport },
      { clock: life.clock, signals: life.signals, env: {}, instance },
    );
    const incarnation: Incarnation<Tx> = { life, bus, subscriptions: [], sessions, taps, started: undefined };
    for (const register of registrations) incarnation.subscriptions.push(register(bus) ?? undefined);
    return incarnation;
  };

  let now = incarnate();

  const die = (point: CrashPoint | undefined): void => {
    const dying = now;
    if (dying.life.dead || stopping) return;
    dying.life.end();
    of.died(point);
    restarting = (async () => {
      await new Promise((resolve) => setImmediate(resolve)); // its transaction is rolled back
      for (const session of dying.sessions) await session.close(); // the other side notices that nobody is there
      now = incarnate();
      restarting = undefined;
      if (dying.started) await start();
    })();
    restarting.catch(() => {}); // heard by whoever uses the bus next
  };

  const start = (): Promise<void> => {
    const { life, bus } = now;
    now.started ??= orDeath(life, life.within(() => bus.start())).catch((error: unknown) => {
      now.started = undefined;
      throw error;
    });
    return now.started;
  };

  return {
    get now() {
      return now;
    },
    get restarting() {
      return restarting;
    },
    get stopping() {
      return stopping;
    },
    instance,
    store: () => openStore(undefined as never), // it is open: a life has asked for it
    register(again, first) {
      now.subscriptions.push(first);
      return registrations.push(again) - 1;
    },
    replace(index, again) {
      registrations[index] = again;
    },
    start,
    arm(point, nth) {
      armed.push({ point, left: nth });
    },
    die,
    stop(how) {
      stopping ??= (async () => {
        while (restarting) await restarting.catch(() => {});
        await now.bus.stop(how);
        await (await opened?.catch(() => undefined))?.close();
      })();
      return stopping;
    },
  };
}

/** What a life was waiting for when it ended is waited for no more. */
export async function orDeath(life: Life, work: Promise<void>): Promise<void> {
  try {
    await Promise.race([work, life.death]);
  } catch (error) {
    if (!life.dead) throw error;
  }
}
