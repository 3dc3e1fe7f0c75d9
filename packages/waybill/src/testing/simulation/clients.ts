/** What stands outside the services and asks things of the shop: it never crashes, and asks again when it hears nothing. */
import type { Chance } from './chance.ts';
import type { SimulatedTransaction } from './unit.ts';
import { startMs } from './process.ts';
import type { Scheduler } from './scheduler.ts';
import type { Instance } from './simulation.ts';
import { count } from './accounts.ts';
import { Ask, Cancelled, Do, type Fate, Later, type Order, Ordered, Priced, Renamed, type Step, Stepped } from './contracts.ts';
import { type Knobs, troubledKey } from './workload.ts';

export interface Clients {
  /** Begins all operations, spread over this time. */
  start(spreadMs: number): void;
  /** Operations that will be asked again. */
  pending(): number;
  /** Told that they are done. */
  readonly acknowledged: ReadonlySet<string>;
  /** Asked for exactly once. */
  readonly once: ReadonlySet<string>;
  /** By the id of a delayed message. */
  readonly dueMs: ReadonlyMap<string, number>;
  /** Taken back, by the word of the bus. */
  readonly cancelled: ReadonlySet<string>;
  /** Nobody knows: the answer was lost. */
  readonly perhapsCancelled: ReadonlySet<string>;
  /** By operation. */
  readonly fates: ReadonlyMap<string, Fate>;
}

export interface ClientsHost {
  readonly instances: readonly Instance[];
  /** While everything is off nobody asks. */
  readonly morning: () => Promise<void>;
  readonly knobs: Knobs;
  readonly scheduler: Scheduler;
  readonly random: Chance;
  readonly violate: (invariant: string, what: string, id?: string) => void;
  readonly tell: (id: string, line: string) => void;
}

/** A client that has heard nothing asks again. */
const patienceMs = 4_000;
const triesMax = 60;
const keys = ['a', 'b', 'c'];

export function createClients({ instances, morning, knobs, scheduler, random, violate }: ClientsHost): Clients {
  let pending = 0;
  const acknowledged = new Set<string>();
  const once = new Set<string>();
  const dueMs = new Map<string, number>();
  const cancelled = new Set<string>();
  const perhapsCancelled = new Set<string>();
  const fates = new Map<string, Fate>();

  const shop = (): Instance | undefined => {
    const up = instances.filter(({ service, process, stopping }) => service === 'shop' && !process.dead && !stopping);
    return up.length > 0 ? random.pick(up) : undefined;
  };

  /** The answer, or undefined when none came in time, or an error. */
  const ask = async <R>(question: (instance: Instance) => Promise<R>): Promise<{ readonly is: R } | undefined> => {
    await morning();
    const instance = shop();
    if (!instance) {
      await scheduler.sleep(500);
      return undefined;
    }
    return Promise.race([
      question(instance).then(
        (is) => ({ is }),
        () => undefined,
      ),
      scheduler.sleep(patienceMs).then(() => undefined),
    ]);
  };

  const fate = (operation: string, key: string): Fate => {
    const doomed = knobs.calm && key === troubledKey ? 0.5 : knobs.doomed;
    const drawn: Fate = knobs.poison && fates.size === 3 ? 'poison' : random.is(doomed) ? random.pick(['doomed', 'rejected'] as const) : 'fine';
    fates.set(operation, drawn);
    return drawn;
  };

  /** Writes a row and publishes what tells of it, in one transaction. */
  const change = async ({ bus }: Instance, tx: SimulatedTransaction, operation: string, key: string): Promise<string[]> => {
    const n = (await tx.lock(key)) + 1;
    await tx.put(key, n);
    const step: Step = { key, n, op: operation, fate: fates.get(operation)! };
    const kind = operation.charCodeAt(operation.length - 1) % 4;
    const published =
      kind === 0
        ? [await bus.publish(Renamed, step, { tx: tx as never })]
        : kind === 1
          ? [await bus.publish(Priced, { ...step, currency: 'EUR' }, { tx: tx as never })]
          : [await bus.publish(Stepped, step, { tx: tx as never })];
    if (kind === 3 && operation.length % 2 === 0) published.push(await bus.send(Do, step, { tx: tx as never }));
    const ids = published.map(({ id }) => id);
    await tx.order({ operation, ids });
    return ids;
  };

  /** Asks until it is done, which happens once. */
  const asUntilDone = async (name: string, scope: string, work: (instance: Instance, tx: SimulatedTransaction) => Promise<void>): Promise<void> => {
    once.add(name);
    for (let tries = 0; tries < triesMax; tries++) {
      const answer = await ask((instance) => instance.bus.once(scope, name, (tx) => work(instance, tx)));
      if (answer) return void acknowledged.add(name);
      await scheduler.sleep(random.whole(10, 500));
    }
    violate('I19', `${name} was asked for ${triesMax} times in vain`);
  };

  const say = (event: typeof Ordered | typeof Cancelled, data: Order | Step): Promise<void> =>
    asUntilDone(data.op, 'order', async ({ bus }, tx) => {
      fates.set(data.op, data.fate);
      const { id } = await bus.publish(event as typeof Cancelled, data, { tx: tx as never });
      await tx.order({ operation: data.op, ids: [id] });
    });

  const operations: Readonly<Record<string, (name: string, key: string) => Promise<void>>> = {
    async once(name, key) {
      fate(name, key);
      await asUntilDone(name, 'change', async (instance, tx) => void (await change(instance, tx, name, key)));
    },
    async plain(name, key) {
      once.add(name); // asked for once, and never again by the bus on its own
      fate(name, key);
      if (await ask((instance) => instance.bus.transaction(async (tx) => void (await change(instance, tx, name, key))))) acknowledged.add(name);
    },
    async later(name, key) {
      once.add(name);
      fates.set(name, 'fine');
      const delayMs = random.whole(500, 6_000);
      let id: string | undefined;
      for (let tries = 0; tries < triesMax && id === undefined; tries++) {
        const answer = await ask(({ bus }) =>
          bus.once('later', name, async (tx) => {
            const untilMs = startMs + scheduler.nowMs + delayMs; // by the server's clock
            const published = await bus.publish(Later, { key, n: 0, op: name, fate: 'fine' }, { tx: tx as never, delayMs });
            dueMs.set(published.id, untilMs);
            await tx.order({ operation: name, ids: [published.id] });
            return published.id;
          }),
        );
        id = answer?.is.result;
        if (id === undefined) await scheduler.sleep(random.whole(10, 500));
      }
      if (id === undefined) return violate('I19', `${name} was asked for ${triesMax} times in vain`);
      acknowledged.add(name);
      if (!random.is(0.3)) return;
      await scheduler.sleep(random.whole(0, delayMs));
      const answer = await ask(({ bus }) => bus.cancel(id));
      if (answer?.is) cancelled.add(id);
      else if (!answer) perhapsCancelled.add(id);
    },
    async account(name, key) {
      const step: Step = { key, n: 0, op: name, fate: fate(name, key) };
      await asUntilDone(name, 'account', (instance, tx) => count(instance, tx, step));
    },
    async order(name) {
      const drawn = random.is(0.2) ? 'rejected' : random.is(0.15) ? 'doomed' : 'fine';
      const order: Order = { key: name, n: 1, op: name, fate: drawn, patienceMs: random.whole(300, 4_000) };
      await say(Ordered, order);
      if (random.is(0.2)) await scheduler.sleep(random.whole(0, 3_000));
      if (random.is(0.3)) await say(Cancelled, { key: name, n: 2, op: `${name}-cancel`, fate: 'fine' });
      if (random.is(0.3)) await say(Ordered, { ...order, n: 3, op: `${name}-again` });
    },
    async command(name, key) {
      fates.set(name, 'fine');
      await ask(({ bus }) => bus.send(Do, { key, n: 0, op: '', fate: 'fine' }, { tx: 'own' }));
    },
    async request() {
      const n = random.whole(1, 1_000);
      const answer = await ask(({ bus }) => bus.request(Ask, { n }, { timeoutMs: 3_000 }));
      if (answer && answer.is.twice !== 2 * n) violate('I17', `asked for twice ${n}, and was told ${answer.is.twice}`);
    },
  };

  return {
    start(spreadMs) {
      const kinds = ['once', 'once', 'once', 'plain', 'plain', 'command', 'request'];
      if (knobs.accounts) kinds.push('account', 'account', 'account');
      if (knobs.takes.includes('orders')) kinds.push('order', 'order', 'order');
      for (let number = 0; number < knobs.operations; number++) {
        const kind = random.is(knobs.laters) ? 'later' : random.pick(kinds);
        const name = `${kind}${number}`;
        const key = random.pick(keys);
        pending++;
        scheduler.after(random.next() * spreadMs, () => {
          void operations[kind]!(name, key).finally(() => pending--);
        });
      }
    },
    pending: () => pending,
    acknowledged,
    once,
    dueMs,
    cancelled,
    perhapsCancelled,
    fates,
  };
}
