/**
 * One run: services on simulated machines, under faults, then healed; and the story of it, judged. The same scenario
 * gives the same run, to the last event.
 *
 * First phase: clients work, everything goes wrong that the scenario says. Second phase: nothing goes wrong any more,
 * everything is started that is down, and all must drain within a bounded time.
 */
import { internalsOf } from '../../contract/internals.ts';
import type { Bus } from '../../contract/api.ts';
import { assembleBus } from '../../bus.ts';
import type { Logger } from '../../contract/signals.ts';
import type { Accounts } from './accounts.ts';
import { Broker } from './broker.ts';
import { Chance, mix } from './chance.ts';
import { check } from './checker.ts';
import { totals } from './accounts.ts';
import { createClients } from './clients.ts';
import { Database } from './database.ts';
import { type Fault, aimOf, createFaults } from './faults.ts';
import { horizonMs, watchMoments } from './moments.ts';
import { type Machine, Process, latencyMs, shortLatencyMs } from './process.ts';
import { createScheduler } from './scheduler.ts';
import { type Told, storyOf } from './retell.ts';
import type { Run, Story, Violation } from './story.ts';
import { Trace } from './trace.ts';
import { storeOf } from './session.ts';
import type { SimulatedTransaction } from './unit.ts';
import { type Knobs, calmed, drawKnobs, isHeld, subscribeAll, subscribed } from './workload.ts';

/** What is to be run; as data, so that it can be checked in. */
export interface Scenario {
  readonly seed: number;
  /** Name of the fault that it sees to. @default the one whose turn it is by the seed */
  readonly aim?: string | undefined;
  /** In place of what the seed would draw. */
  readonly knobs?: Partial<Knobs> | undefined;
  /** Exactly these; undefined: drawn from the seed. */
  readonly faults?: readonly Fault[] | undefined;
  /** Pathology: the broker loses so many of the messages that it confirmed. */
  readonly loses?: number | undefined;
  /** Once all is at rest, everything is published again from the ledgers: what was lost comes, and nothing else happens. */
  readonly republishes?: boolean | undefined;
}

export interface Outcome {
  readonly scenario: Scenario;
  readonly knobs: Knobs;
  readonly violations: readonly Violation[];
  readonly story: Story;
  /** Of everything that happened, in order. */
  readonly hash: string;
  readonly faults: readonly Fault[];
  /** Names of the faults that struck: coverage. */
  readonly hit: ReadonlySet<string>;
  readonly steps: number;
  /** Kept on request. */
  readonly trace: readonly string[];
}

/** Virtual time of the first phase: enough for leases to run out and retries to come due under fire. */
const faultsMs = 10_000;
/** Everything must be drained so soon after the last fault. */
const drainMs = 900_000;
/** It is at rest when nothing is left to do at so many looks in a row. */
const lookEveryMs = 250;
const calmLooks = 4;
/** Longer than the ledger is kept; shorter than it takes until nothing can come again. */
const shortNightMs = 100_000;
/** Everything is old afterwards. */
const longNightMs = 200_000;

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** What an instance has anew in each of its lives. */
type Life = Pick<Instance, 'process' | 'bus' | 'accounts' | 'up' | 'stopping'>;

/** A place where an instance of a service runs, over all its lives. */
export interface Instance {
  readonly service: 'shop' | 'basket';
  readonly database: Database;
  readonly name: string;
  process: Process;
  bus: Bus<SimulatedTransaction>;
  accounts: Accounts | undefined;
  up: boolean;
  stopping: boolean;
}

export async function simulate(scenario: Scenario, options: { readonly trace?: boolean } = {}): Promise<Outcome> {
  const random = new Chance(mix(`seed ${scenario.seed}`));
  const aim = aimOf(scenario.seed, scenario.aim);
  const knobs = calmed({ ...drawKnobs(random.stream('knobs'), aim.call), ...scenario.knobs });
  const scheduler = createScheduler();
  const faults = createFaults(random.stream('faults'), knobs.calm ? [] : scenario.faults, aim);
  const trace = new Trace(options.trace ?? false);
  const seen: Violation[] = [];
  const violate = (invariant: string, what: string, id?: string): void => void seen.push({ invariant, what, ...(id !== undefined && { id }) });
  const instances: Instance[] = [];
  const machine: Machine = {
    scheduler,
    faults,
    chance: random.stream('machine'),
    trace,
    latencyMs: knobs.calm ? shortLatencyMs : latencyMs,
    calls: 0,
    powerOff() {
      for (const { process } of instances) process.die('power');
    },
  };
  const { parallel, cheapSavepoints } = knobs;
  const databaseOf = (name: string): Database => new Database({ name, scheduler, parallel, cheapSavepoints });
  const databases = { shop: databaseOf('shop'), basket: databaseOf('basket') };
  const told: Told = new Map();
  const tell = (id: string, line: string): void => {
    const at = `${Math.round(scheduler.nowMs)} ${line}`;
    const lines = told.get(id);
    if (lines) lines.push(at);
    else told.set(id, [at]);
  };
  const runs: Run[] = [];
  const handlers = random.stream('handlers');

  const broker: Broker = new Broker({
    scheduler,
    chance: random.stream('broker'),
    onSettled: (...given) => moments.onSettled(...given),
    onGoodbye: (...given) => moments.onGoodbye(...given),
  });
  broker.toLose = scenario.loses ?? 0;
  const moments = watchMoments(databases, { broker: () => broker, violate, tell, nowMs: () => scheduler.nowMs });

  // --- processes --------------------------------------------------------------------------------------------------------

  let renamed = false;
  let mended = false;
  let lives = 0;
  const live = (instance: Omit<Instance, keyof Life>): Life => {
    const process = new Process(`${instance.name}#${++lives}`, machine);
    const bus = assembleBus<SimulatedTransaction>(
      { service: instance.service, store: storeOf(instance.database, process), transport: broker.transport(process), logger: silent, requireTransaction: false, ...(knobs.nights && { horizonMs }) },
      { clock: process.clock, env: {} },
    );
    const accounts = subscribeAll(bus, instance.service, {
      process,
      random: handlers,
      knobs,
      renamed,
      mended: () => mended,
      ran(subscription, id, attempt) {
        if (process.dead) return;
        runs.push({ subscription, id, attempt, atMs: scheduler.nowMs });
        tell(id, `${process.name} runs it in ${subscription}, run ${attempt}`);
      },
    });
    for (const name of ['duplicate', 'stale', 'sent', 'unroutable'] as const) {
      bus.on(name, (detail) => {
        if (!process.dead) tell(detail.id, `${process.name} ${name} ${'subscription' in detail ? detail.subscription : ''}`);
      });
    }
    return { process, bus, accounts, up: false, stopping: false };
  };

  const begin = (instance: Instance): void => {
    const { process, bus } = instance;
    trace.line(`${process.name} starts`);
    process.onDeath(() => {
      if (instance.process !== process) return;
      moments.died(process);
      instance.up = false;
      scheduler.after(Math.max(0, morningMs - scheduler.nowMs) + random.whole(50, 2_000), () => {
        Object.assign(instance, live(instance));
        begin(instance);
      });
    });
    bus.start().then(
      () => {
        if (instance.process === process && !process.dead) instance.up = true;
      },
      (error: unknown) => {
        trace.line(`${process.name} could not start: ${String(error)}`);
        process.die('it could not start');
      },
    );
  };

  /** SIGTERM: it ends in peace, and another takes its place. */
  const restart = async (instance: Instance): Promise<void> => {
    const { process, bus } = instance;
    if (!instance.up || instance.stopping) return;
    instance.stopping = true;
    trace.line(`${process.name} is asked to stop`);
    await bus.stop({ drainMs: 5_000 });
    process.die('stopped');
  };

  const add = (service: 'shop' | 'basket', number: number): void => {
    const place = { service, database: databases[service], name: `${service}-${number}` };
    const instance: Instance = Object.assign(place, live(place));
    instances.push(instance);
    begin(instance);
  };
  /** When what is off is switched on again. */
  let morningMs = 0;
  const morning = (): Promise<void> => scheduler.sleep(Math.max(0, morningMs - scheduler.nowMs));
  /** Everything is off for so long; queues and databases keep what they have. */
  const night = async (forMs: number): Promise<void> => {
    trace.line('night');
    morningMs = scheduler.nowMs + forMs;
    machine.powerOff();
    await scheduler.run(morningMs, () => false);
  };
  for (let number = 1; number <= knobs.baskets; number++) add('basket', number);
  for (let number = 1; number <= knobs.shops; number++) add('shop', number);

  // --- first phase ------------------------------------------------------------------------------------------------------

  const clients = createClients({ instances, morning, knobs, scheduler, random: random.stream('clients'), violate, tell });
  // Subscriptions are bound before the first message, or nobody could say who has to have it. Faults may strike already.
  const names = subscribed(knobs).map(({ name }) => name).filter((name) => name !== totals);
  if (knobs.takes.includes('orders')) names.push('basket.orders');
  const isBound = (): boolean => names.every((name) => broker.declared.has(name) || broker.declared.has(`${name}-renamed`));
  if (!(await scheduler.run(120_000, isBound))) violate('I19', 'not every subscription was bound within two minutes');
  clients.start(faultsMs * (knobs.rush ? 0.02 : 0.6));
  const weather = random.stream('weather');
  const at = (fromMs: number, fn: () => void): void => void scheduler.after(weather.next() * fromMs, fn);
  if (knobs.outage) {
    at(faultsMs * 0.6, () => {
      trace.line('the broker goes away');
      broker.goAway();
      scheduler.after(weather.whole(100, 9_000), () => broker.back());
    });
  }
  if (knobs.renames) {
    at(faultsMs * 0.6, () => {
      trace.line('a subscription is renamed');
      renamed = true;
      for (const instance of instances) if (instance.service === 'basket') scheduler.after(weather.whole(0, 3_000), () => void restart(instance));
    });
  }
  if (knobs.restarts) for (let i = 0; i < 3; i++) at(faultsMs * 0.8, () => void restart(weather.pick(instances)));
  if (knobs.repeats) for (let i = 0; i < 5; i++) at(faultsMs * 1.2, () => broker.repeat());
  const phaseEndMs = scheduler.nowMs + faultsMs;
  await scheduler.run(phaseEndMs, () => false);

  // --- second phase -----------------------------------------------------------------------------------------------------

  if (knobs.nights) {
    faults.heal();
    broker.back();
    await night(shortNightMs);
  }
  trace.line('healed');
  mended = true;
  faults.heal();
  broker.back();
  for (const database of Object.values(databases)) database.downUntilMs = 0;
  for (const { process } of instances) {
    process.jump(0);
    process.wake();
  }
  /** An operator has run again what holds its key, or was to. */
  const isToRetry = ({ subscription, holds }: { subscription: string | undefined; holds: boolean }): boolean =>
    subscription !== undefined && (holds || (subscription === 'basket.steps' && isHeld(knobs)));
  const operate = (): string | undefined => {
    for (const { up, process, stopping, database, bus } of instances) {
      const rows = [...database.disk.failures.committed.values()].filter(isToRetry).map(({ row }) => row);
      if (rows.length === 0) continue;
      if (up && !process.dead && !stopping) {
        void internalsOf(bus).failures().then((failures) => failures.retry(rows)).catch(() => {}); // prettier-ignore
      }
      return `${rows.length} failures are to be run again`;
    }
    return undefined;
  };
  /** What is still to be done; undefined when all is at rest. */
  const outstanding = (): string | undefined => {
    const failed = operate();
    if (failed !== undefined) return failed;
    const down = instances.find(({ up, process }) => !up || process.dead);
    if (down) return `${down.name} is not up`;
    if (renamed && knobs.takes.includes('sets')) {
      const old = instances.find(({ service, bus }) => service === 'basket' && !internalsOf(bus).subscriptions().some(({ plan }) => plan.name === 'basket.sets-renamed'));
      if (old) {
        void restart(old);
        return `${old.name} has the old name`;
      }
    }
    if (clients.pending() > 0) return `${clients.pending()} clients wait`;
    for (const [name, { disk, open }] of Object.entries(databases)) {
      const position = disk.relay.committed.get('relay')?.position ?? 0;
      if ([...disk.outbox.committed.keys()].some((row) => row > position)) return `${name}'s ledger is not sent`;
      if (disk.waiting.committed.size > 0) {
        const row = [...disk.waiting.committed.values()][0]!;
        return `${name}: ${row.message.id} waits in ${row.subscription ?? 'the sender'}: ${row.reason}`;
      }
      const { position: projected = 0, failure } = disk.projections.committed.get('totals') ?? {};
      if (failure) return `${name}: a projection stands before ${failure.stream} ${failure.version}: ${failure.message}`;
      if (knobs.accounts && [...disk.events.committed.keys()].some((event) => event > projected)) return `${name}: events are not projected`;
      if (open.size > 0) return `${name} has open transactions`;
    }
    for (const { bus, name } of instances) {
      const internals = internalsOf(bus);
      if (internals.inFlight() > 0) return `${name} has messages in hand`;
      const idle = internals.subscriptions().find(({ active }) => !active);
      if (idle) return `${name} does not consume ${idle.plan.name} yet`;
      const queued = internals.subscriptions().find(({ sources }) => sources.some(({ waiting = 0 }) => waiting > 0));
      if (queued) return `${queued.plan.name} has a queue`;
    }
    return undefined;
  };
  /** What each service had in its ledger before it published everything again. */
  const original = new Map<string, number>();
  const republish = ({ service, database, bus }: Instance): void => {
    const rows = [...database.disk.outbox.committed.values()].filter(({ kind }) => kind !== 'reply');
    original.set(service, database.disk.lastNumber);
    internalsOf(bus).republish(rows.map(({ position: _, storedMs: _at, ...row }) => row)).catch((error: unknown) => violate('I22', `${service} could not publish again: ${String(error)}`)); // prettier-ignore
  };
  const deadlineMs = scheduler.nowMs + drainMs;
  let what: string | undefined;
  const rest = async (): Promise<void> => {
    for (let calm = 0; calm < calmLooks && scheduler.nowMs < deadlineMs && !scheduler.exhausted; ) {
      await scheduler.run(scheduler.nowMs + lookEveryMs, () => false);
      what = outstanding();
      calm = what === undefined ? calm + 1 : 0;
    }
  };
  await rest();
  if (scenario.republishes) {
    for (const instance of instances) if (!original.has(instance.service)) republish(instance);
    await rest();
  }
  const left: string[] = [];
  if (knobs.nights && what === undefined) {
    await night(longNightMs);
    await rest();
    left.push(...moments.overdue());
  }
  if (scheduler.exhausted) violate('I19', `it spins: ${scheduler.steps} events, and no end: ${what ?? ''}`);
  else if (what !== undefined) violate('I19', `${drainMs / 1000} s after the last fault: ${what}`);
  for (const [name, { locks }] of Object.entries(databases)) if (locks.size > 0) left.push(`${name}: ${locks.size} locks are held`);
  const story = storyOf({ databases, moments, knobs, broker, clients, runs, seen, left, told, original });
  for (const { process } of instances) process.die('the end');
  return {
    scenario,
    knobs,
    violations: check(story),
    story,
    hash: `${trace.hash}-${scheduler.steps}`,
    faults: faults.injected,
    hit: faults.hit,
    steps: scheduler.steps,
    trace: trace.lines,
  };
}
