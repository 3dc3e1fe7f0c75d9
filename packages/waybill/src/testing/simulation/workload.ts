/**
 * What the simulated services do: a shop that publishes and a basket that subscribes, in every way that there is. Clients
 * stand outside; they are never told lies, and ask again when they hear nothing.
 */
import type { Bus } from '../../contract/api.ts';
import { Reject } from '../../contract/errors.ts';
import { type Accounts, projectAccounts, totals } from './accounts.ts';
import type { Chance } from './chance.ts';
import { Ask, Do, Echoed, Later, Priced, PricedV1, Renamed, type Step, Stepped } from './contracts.ts';
import type { SimulatedTransaction } from './unit.ts';
import type { CallName } from './faults.ts';
import { orderProcess, takeOrders } from './orders.ts';
import type { Process } from './process.ts';
import type { Subscribed } from './story.ts';

/** How a run is set up; drawn from its seed, and part of a scenario that is checked in. */
export interface Knobs {
  readonly parallel: boolean;
  readonly cheapSavepoints: boolean;
  readonly shops: number;
  readonly baskets: number;
  readonly operations: number;
  readonly order: 'any' | 'by-key' | 'latest';
  readonly mode: 'shared' | 'own' | 'manual';
  readonly concurrency: number;
  readonly batch: number;
  /** Part of all runs of handlers that throw. */
  readonly throws: number;
  readonly doomed: number;
  readonly poison: boolean;
  /** A subscription is renamed half way. */
  readonly renames: boolean;
  /** Processes are stopped and started again, in peace. */
  readonly restarts: boolean;
  /** Part of the operations that send later. */
  readonly laters: number;
  /** Handlers wait for something else now and then. */
  readonly slow: number;
  /** The broker is away for a while. */
  readonly outage: boolean;
  /** All of the operations come at once. */
  readonly rush: boolean;
  /** Old messages come again. */
  readonly repeats: boolean;
  /** Subscriptions of the basket, without the service's name: fewer make faster runs. */
  readonly takes: readonly string[];
  /** The shop keeps streams of events too, with a projection. */
  readonly accounts: boolean;
  /** What fails for good in `steps`, in order by key, holds its key until an operator has it run again. */
  readonly holds: boolean;
  /** Everything is off for a while, and comes back when much of what is kept is old; and again when all of it is. */
  readonly nights: boolean;
  /** Nothing goes wrong, but that handlers cannot do half of what is published of one key. */
  readonly calm: boolean;
}

const takable = ['steps', 'view', 'sets', 'prices', 'old-prices', 'later', 'do', 'orders'] as const;
const takesMax = 4;

/** The key of which something cannot be done in calm runs. */
export const troubledKey = 'a';

/** What may not go wrong where the time is measured that messages of other keys take. */
export function calmed(knobs: Knobs): Knobs {
  if (!knobs.calm) return knobs;
  return { ...knobs, throws: 0, slow: 0, doomed: 0, poison: false, renames: false, restarts: false, outage: false, repeats: false, nights: false };
}

/** @param aim a call that shall happen */
export function drawKnobs(random: Chance, aim: CallName): Knobs {
  const drawn = draw(random);
  const { takes } = drawn;
  const taking = (name: string): readonly string[] => [...new Set([name, ...takes])];
  switch (aim) {
    case 'inbox.rename':
      return { ...drawn, renames: true, takes: taking('sets') };
    case 'inbox.advance':
      return { ...drawn, takes: taking('view') };
    case 'inbox.has':
      return { ...drawn, mode: 'own', takes: taking('steps') };
    case 'waiting.blocked':
      return { ...drawn, order: 'by-key', mode: 'shared', takes: taking('steps') };
    case 'waiting.cancel':
      return { ...drawn, laters: 0.5 };
    case 'saga.load':
    case 'saga.save':
    case 'saga.awaken':
      return { ...drawn, takes: taking('orders') };
    case 'stream.append':
    case 'stream.read':
    case 'stream.scan':
    case 'projection.acquire':
    case 'projection.settle':
    case 'projection.renew':
      return { ...drawn, accounts: true };
    case 'projection.release':
      return { ...drawn, accounts: true, restarts: true };
    case 'waiting.start':
    case 'waiting.add':
      return drawn.parallel ? lined(drawn) : { ...drawn, throws: 0.3 };
    case 'waiting.take':
      return lined(drawn);
    case 'failures.add':
      return { ...drawn, doomed: 0.3, ...(drawn.holds && { order: 'by-key', poison: false, takes: taking('steps') }) };
    case 'savepoint':
      return { ...drawn, cheapSavepoints: true, takes: taking('sets') };
    case 'release':
    case 'outbox.release':
      return { ...drawn, restarts: true, batch: 3, concurrency: 1, slow: 0.5, operations: 30 };
    default:
      return drawn;
  }
}

/** Much waits in lines, which are taken in pieces. */
function lined(drawn: Knobs): Knobs {
  return { ...drawn, parallel: true, cheapSavepoints: false, order: 'by-key', batch: 100, throws: 0.4, operations: 60, rush: true, baskets: 1, calm: false, takes: ['steps'] };
}

function draw(random: Chance): Knobs {
  const parallel = random.is(0.5);
  return {
    parallel,
    cheapSavepoints: !parallel || random.is(0.5),
    shops: random.whole(1, 2),
    baskets: random.whole(1, 3),
    operations: random.whole(10, 30),
    order: random.pick(['any', 'by-key', 'by-key', 'latest'] as const),
    mode: random.pick(['shared', 'shared', 'own', 'manual'] as const),
    concurrency: random.pick([1, 2, 16]),
    batch: random.pick([1, 3, 100]),
    throws: random.pick([0, 0.05, 0.2]),
    doomed: random.pick([0, 0, 0.08]),
    poison: random.is(0.1),
    renames: random.is(0.2),
    restarts: random.is(0.3),
    laters: 0.15,
    slow: random.pick([0, 0.1]),
    outage: random.is(0.3),
    repeats: random.is(0.3),
    takes: takable
      .map((name) => ({ name, rank: random.next() }))
      .sort((a, b) => a.rank - b.rank)
      .slice(0, random.whole(2, takesMax))
      .map(({ name }) => name),
    accounts: random.is(0.2),
    rush: false,
    holds: random.is(0.5),
    nights: random.is(0.15),
    calm: random.is(0.05),
  };
}

/** Short pauses, so that a message that fails for good has soon had all its runs. */
const retry = { immediate: 1, delayed: 12, delayMs: 100, delayMaxMs: 800 };
/** Short, so that a run that died with its process is soon begun again. */
const timeoutMs = 4_000;
const attemptsMax = 1 + retry.immediate + retry.delayed;

function pauseMs(attempt: number): number {
  const nth = attempt - 2 - retry.immediate;
  return nth < 0 ? 0 : Math.min(retry.delayMs * 2 ** nth, retry.delayMaxMs);
}

/** Every subscription, as the checker wants to know it. */
export function subscribed({ order, takes, accounts }: Knobs): Subscribed[] {
  const basket = { service: 'basket', attemptsMax, pauseMs };
  const all: Subscribed[] = [
    { ...basket, name: 'basket.steps', order, types: ['shop.stepped.v1'] },
    { ...basket, name: 'basket.view', order: 'latest', types: ['shop.stepped.v1', 'shop.renamed.v1'] },
    { ...basket, name: 'basket.sets', order: 'any', types: ['shop.stepped.v1'] },
    { ...basket, name: 'basket.prices', order: 'any', types: ['shop.priced.v2', 'shop.priced.v1'] },
    { ...basket, name: 'basket.old-prices', order: 'by-key', types: ['shop.priced.v1'] },
    { ...basket, name: 'basket.later', order: 'any', types: ['shop.later.v1'] },
    { ...basket, name: 'basket.do', order: 'any', types: ['basket.do.v1'] },
    { name: 'shop.echoes', service: 'shop', order: 'any', types: ['basket.echoed.v1'], attemptsMax, pauseMs },
  ];
  const taken = all.filter(({ name }) => !name.startsWith('basket.') || takes.includes(name.slice('basket.'.length)));
  const shop = { service: 'shop', order: 'any', attemptsMax, pauseMs } as const;
  if (takes.includes('orders')) {
    for (const step of ['reserve', 'charge', 'release']) taken.push({ ...shop, name: `shop.${step}`, types: [`shop.${step}.v1`] });
  }
  if (accounts) taken.push({ ...shop, name: totals, order: 'by-key', types: ['shop.counted.v1'], attemptsMax: Infinity });
  return taken;
}

/** Whether a failure in `steps` holds its key. */
export function isHeld({ holds, order, poison }: Knobs): boolean {
  return holds && order === 'by-key' && !poison; // what kills its process is never mended
}

/** What stands under another name after it was renamed. */
export function canonical(name: string): string {
  return name === 'basket.sets-renamed' ? 'basket.sets' : name;
}

export interface HandlerHost {
  readonly process: Process;
  readonly random: Chance;
  readonly knobs: Knobs;
  readonly renamed: boolean;
  /** A handler is called. */
  readonly ran: (subscription: string, id: string, attempt: number) => void;
  /** What could not be done can be done now: an operator has what failed run again. */
  readonly mended: () => boolean;
}

type Ctx = {
  readonly tx: SimulatedTransaction;
  readonly attempt: number;
  readonly message: { readonly id: string; readonly source: string; readonly type: string };
  publish(contract: typeof Echoed, data: Step & { by: string }): Promise<{ id: string }>;
  transaction?(work: (tx: SimulatedTransaction) => Promise<void>): Promise<void>;
};

/** @returns the event store of a shop that has one */
export function subscribeAll(bus: Bus<SimulatedTransaction>, service: 'shop' | 'basket', host: HandlerHost): Accounts | undefined {
  const { process, random, knobs } = host;
  const { concurrency, batch } = knobs;

  const apply = async (name: string, tx: SimulatedTransaction, { message, publish }: Pick<Ctx, 'message'> & { publish?: Ctx['publish'] | undefined }, step: Step): Promise<void> => {
    const { id, source, type } = message;
    const caused = publish && (await publish(Echoed, { ...step, n: step.n, by: name }));
    await tx.effect({ subscription: name, id, source, type, key: step.key, n: step.n, caused: caused?.id });
  };
  /** Whether what fails for good in this subscription is run again in the end, and succeeds. */
  const isMended = (name: string): boolean => name === 'basket.steps' && isHeld(knobs) && host.mended();
  const misbehave = (name: string, { fate }: Step): void => {
    if (process.dead) return;
    if (fate === 'poison') return process.die('poison');
    if (fate === 'doomed' && !isMended(name)) throw new Error('it cannot be done');
    if (random.is(knobs.throws)) throw new Error('bad luck');
  };
  const handler =
    (name: string, echoes = false, manual = false) =>
    async (step: Step, ctx: any): Promise<void> => {
      const context = ctx as Ctx;
      host.ran(name, context.message.id, context.attempt);
      if (step.fate === 'rejected' && !isMended(name)) throw new Reject('it is not wanted');
      if (random.is(knobs.slow)) await new Promise<void>((resolve) => void process.clock.after(random.whole(1, 200), resolve));
      const work = async (tx: SimulatedTransaction): Promise<void> => {
        await apply(name, tx, { message: context.message, publish: echoes ? (contract, data) => context.publish(contract, data) : undefined }, step);
        misbehave(name, step);
      };
      await (manual ? context.transaction!(work) : work(context.tx));
      if (process.dead) await new Promise(() => {});
    };

  if (service === 'shop') {
    bus.subscribe(Echoed, { name: 'echoes', retry, timeoutMs }, handler('shop.echoes'));
    if (knobs.takes.includes('orders')) takeOrders(bus, host, { retry, timeoutMs });
    return knobs.accounts ? projectAccounts(bus, host) : undefined;
  }
  const { mode, order } = knobs;
  const registering: Readonly<Record<string, () => unknown>> = {
    steps: () =>
      bus.subscribe(
        Stepped,
        { name: 'steps', order, transaction: mode as 'shared', concurrency, batch, retry, timeoutMs, ...(isHeld(knobs) && { afterFailure: 'hold' }) } as { order: 'any' },
        handler('basket.steps', true, mode === 'manual'),
      ),
    view: () =>
      bus.subscription('view', { order: 'latest', concurrency, batch, retry, timeoutMs }).on(Stepped, handler('basket.view')).on(Renamed, handler('basket.view')),
    sets: () => {
      const named = host.renamed ? { name: 'sets-renamed', formerly: ['sets'] } : { name: 'sets' };
      return bus.subscribeBatch(Stepped, { ...named, batch, retry, timeoutMs }, async (steps, ctx) => {
        for (const [at, step] of steps.entries()) {
          host.ran('basket.sets', ctx.messages[at]!.id, 1);
          if (step.fate === 'rejected') throw new Reject('it is not wanted');
          await apply('basket.sets', ctx.tx, { message: ctx.messages[at]! }, step);
          misbehave('basket.sets', step);
          if (process.dead) await new Promise(() => {});
        }
      });
    },
    prices: () => bus.subscribe(Priced, { name: 'prices', retry, concurrency, timeoutMs }, handler('basket.prices')),
    'old-prices': () =>
      bus.subscribe(PricedV1, { name: 'old-prices', order: 'by-key', retry, concurrency, batch, timeoutMs }, handler('basket.old-prices', true)),
    later: () => bus.subscribe(Later, { name: 'later', retry, timeoutMs }, handler('basket.later')),
    orders: () => bus.run(orderProcess(host), { retry, concurrency, batch, timeoutMs }),
    do: () => bus.handle(Do, { name: 'do', retry, timeoutMs }, handler('basket.do', true)),
  };
  for (const name of knobs.takes) registering[name]!();
  bus.handle(Ask, { name: 'ask', timeoutMs }, ({ n }) => ({ twice: n * 2 }));
  return undefined;
}
