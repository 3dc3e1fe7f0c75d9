/** The simulated back ends as drivers of the conformance suites: on a clock that runs, and with no faults. */
import { systemClock } from '../../src/contract/clock.ts';
import { hastenedClock } from '../../src/testing/conformance/hastened-clock.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { StoreDriver } from '../../src/testing/conformance/store/world.ts';
import type { Peer, TransportDriver } from '../../src/testing/conformance/transport/world.ts';
import { Broker } from '../../src/testing/simulation/broker.ts';
import { Chance } from '../../src/testing/simulation/chance.ts';
import { Database } from '../../src/testing/simulation/database.ts';
import { createFaults } from '../../src/testing/simulation/faults.ts';
import { type Machine, Process, startMs } from '../../src/testing/simulation/process.ts';
import type { Scheduler } from '../../src/testing/simulation/scheduler.ts';
import { storeOf } from '../../src/testing/simulation/session.ts';
import { Trace } from '../../src/testing/simulation/trace.ts';
import type { Clock } from '../../src/contract/clock.ts';

/** Virtual time by another clock; latencies take no time. */
function scheduler(clock: Clock): Scheduler {
  const began = clock.now();
  const self: Scheduler = {
    get nowMs() {
      return clock.now() - began;
    },
    size: 0,
    steps: 0,
    exhausted: false,
    after: (delayMs, fn) => (delayMs > 0 ? clock.after(delayMs, fn) : atOnce(fn)),
    sleep: () => Promise.resolve(),
    run: () => Promise.reject(new Error('this one runs by itself')),
  };
  return self;
}

function atOnce(fn: () => void): () => void {
  let cancelled = false;
  queueMicrotask(() => void (cancelled || fn()));
  return () => (cancelled = true);
}

function machine(on: Scheduler): Machine {
  const random = new Chance(1);
  return { scheduler: on, faults: createFaults(random, []), chance: random, trace: new Trace(false), latencyMs: () => 0, calls: 0, powerOff() {} };
}

export function simulatedStore(options: { parallel: boolean; cheapSavepoints: boolean }): StoreDriver {
  return {
    name: `simulated, ${options.parallel ? 'parallel' : 'one at a time'}, ${options.cheapSavepoints ? 'cheap' : 'dear'} savepoints`,
    lacks: { sql: 'it has business tables of its own, and no SQL', migrations: 'it has no tables to make' },
    async open() {
      const clock = hastenedClock();
      const on = scheduler(clock);
      const database = new Database({ name: 'basket', scheduler: on, ...options });
      const reports: { name: string; detail: unknown }[] = [];
      const sessions = new Set<{ close(): Promise<void> }>();
      return {
        clock: { ...clock, now: () => startMs + on.nowMs },
        patienceMs: 20,
        reports,
        async open({ service = 'basket', migrate = 'auto' } = {}) {
          const process = new Process('p', machine(on));
          const session = await storeOf(database, process).open(recordingHost(service, clock, reports, migrate));
          sessions.add(session);
          return session;
        },
        pass: async (ms) => clock.pass(ms),
        async close() {
          for (const session of sessions) await session.close();
        },
      };
    },
  };
}

export function simulatedTransport(): TransportDriver {
  return {
    name: 'simulated',
    lacks: {
      history: 'nothing is kept of what was sent before a queue was there',
      topology: 'nothing stands outside the process',
      commit: 'messages are handed to a broker by the relay',
    },
    async open() {
      const clock = systemClock();
      const on = scheduler(clock);
      const broker = new Broker({ scheduler: on, chance: new Chance(1), onSettled() {}, onGoodbye() {} });
      const databases = new Map<string, Database>();
      const peers = new Map<Peer, Process>();
      const refused = new Set<string>();
      broker.refuses = ({ id }) => (refused.has(id) ? 'the test says so' : undefined);
      return {
        clock,
        patienceMs: 50,
        quietMs: 5,
        async start(service) {
          const process = new Process(service, machine(on));
          const host = recordingHost(service, clock);
          if (!databases.has(service)) databases.set(service, new Database({ name: service, scheduler: on, parallel: false, cheapSavepoints: true }));
          const store = await storeOf(databases.get(service)!, process).open(host);
          const session = await broker.transport(process).connect({ ...host, store });
          const peer: Peer = {
            service,
            store,
            session,
            async stop() {
              await session.close();
              await store.close();
              process.die('stopped');
              peers.delete(peer);
            },
          };
          peers.set(peer, process);
          return peer;
        },
        away: async () => broker.goAway(),
        back: async () => broker.back(),
        refused: (message) => {
          refused.add(message.id);
          return message;
        },
        async kill(peer) {
          peers.get(peer)!.die('the test');
          peers.delete(peer);
          await new Promise((resolve) => setTimeout(resolve, 40)); // the broker notices
        },
        async close() {
          broker.back();
          for (const [peer, process] of peers) {
            await peer.stop();
            process.die('the case is over');
          }
        },
      };
    },
  };
}
