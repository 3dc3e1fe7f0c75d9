/**
 * What the simulated services do: a shop that publishes and a basket that subscribes, in every way that there is. Clients
 * stand outside; they are never told lies, and ask again when they hear nothing.
 */
import type { Bus } from '../../contract/api.ts';
import { type CommandContract, type EventContract, defineCommand, defineEvent } from '../../contract/contracts.ts';
import { Reject } from '../../contract/errors.ts';
import type { StandardSchema } from '../../contract/schema.ts';
import type { Chance } from './chance.ts';
import type { SimulatedTransaction } from './database.ts';
import type { CallName } from './faults.ts';
import type { Process } from './process.ts';
import type { Subscribed } from './story.ts';

const any = <T>(): StandardSchema<T, T> => ({ '~standard': { version: 1, vendor: 'simulation', validate: (value) => ({ value: value as T }) } });

export type Fate = 'fine' | 'doomed' | 'rejected' | 'poison';
export interface Step {
  readonly key: string;
  readonly n: number;
  readonly op: string;
  readonly fate: Fate;
}
type Marked<Name extends string, Data = Step> = EventContract<Name, Data, Data, 'key' | 'sequence'>;
type Amount = Step & { readonly currency: string };

const marks = { key: (step: Step) => step.key, sequence: (step: Step) => step.n };

export const Stepped: Marked<'shop.stepped'> = defineEvent('shop.stepped', { schema: any<Step>(), ...marks });
export const Renamed: Marked<'shop.renamed'> = defineEvent('shop.renamed', { schema: any<Step>(), ...marks });
const PricedV1: Marked<'shop.priced'> = defineEvent('shop.priced', { schema: any<Step>(), ...marks });
export const Priced: Marked<'shop.priced', Amount> = defineEvent('shop.priced', {
  version: 2,
  schema: any<Amount>(),
  ...marks,
  previous: PricedV1,
  upcast: (old: Step) => ({ ...old, currency: 'EUR' }),
  downcast: ({ currency: _, ...step }: Amount) => step,
});
export const Later: Marked<'shop.later'> = defineEvent('shop.later', { schema: any<Step>(), ...marks });
export const Echoed: Marked<'basket.echoed', Step & { readonly by: string }> = defineEvent('basket.echoed', { schema: any<Step & { readonly by: string }>(), ...marks });
export const Do: CommandContract<'basket.do', Step, Step> = defineCommand('basket.do', { schema: any<Step>() });
export const Ask: CommandContract<'basket.ask', { n: number }, { n: number }, { twice: number }, { twice: number }> = defineCommand('basket.ask', { schema: any<{ n: number }>(), reply: any<{ twice: number }>() });

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
  /** Old messages come again. */
  readonly repeats: boolean;
  /** Subscriptions of the basket, without the service's name: fewer make faster runs. */
  readonly takes: readonly string[];
}

const takable = ['steps', 'view', 'sets', 'prices', 'old-prices', 'later', 'do'] as const;
const takesMax = 4;

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
    case 'waiting.start':
    case 'waiting.add':
      return { ...drawn, throws: 0.3 };
    case 'failures.add':
      return { ...drawn, doomed: 0.3 };
    case 'savepoint':
      return { ...drawn, cheapSavepoints: true, takes: taking('sets') };
    case 'release':
    case 'outbox.release':
      return { ...drawn, restarts: true, batch: 3, concurrency: 1, slow: 0.5, operations: 30 };
    default:
      return drawn;
  }
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
  };
}

const retry = { immediate: 1, delayed: 12, delayMs: 200, delayMaxMs: 2_000 };
/** Short, so that a run that died with its process is soon begun again. */
const timeoutMs = 4_000;
const attemptsMax = 1 + retry.immediate + retry.delayed;

function pauseMs(attempt: number): number {
  const nth = attempt - 2 - retry.immediate;
  return nth < 0 ? 0 : Math.min(retry.delayMs * 2 ** nth, retry.delayMaxMs);
}

/** Every subscription, as the checker wants to know it. */
export function subscribed({ order, takes }: Knobs): Subscribed[] {
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
  return all.filter(({ name }) => !name.startsWith('basket.') || takes.includes(name.slice('basket.'.length)));
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
}

type Ctx = {
  readonly tx: SimulatedTransaction;
  readonly attempt: number;
  readonly message: { readonly id: string; readonly source: string; readonly type: string };
  publish(contract: typeof Echoed, data: Step & { by: string }): Promise<{ id: string }>;
  transaction?(work: (tx: SimulatedTransaction) => Promise<void>): Promise<void>;
};

export function subscribeAll(bus: Bus<SimulatedTransaction>, service: 'shop' | 'basket', host: HandlerHost): void {
  const { process, random, knobs } = host;
  const { concurrency, batch } = knobs;

  const apply = async (name: string, tx: SimulatedTransaction, { message, publish }: Pick<Ctx, 'message'> & { publish?: Ctx['publish'] | undefined }, step: Step): Promise<void> => {
    const { id, source, type } = message;
    const caused = publish && (await publish(Echoed, { ...step, n: step.n, by: name }));
    await tx.effect({ subscription: name, id, source, type, key: step.key, n: step.n, caused: caused?.id });
  };
  const misbehave = ({ fate }: Step): void => {
    if (process.dead) return;
    if (fate === 'poison') return process.die('poison');
    if (fate === 'doomed') throw new Error('it cannot be done');
    if (random.is(knobs.throws)) throw new Error('bad luck');
  };
  const handler =
    (name: string, echoes = false, manual = false) =>
    async (step: Step, ctx: any): Promise<void> => {
      const context = ctx as Ctx;
      host.ran(name, context.message.id, context.attempt);
      if (step.fate === 'rejected') throw new Reject('it is not wanted');
      if (random.is(knobs.slow)) await new Promise<void>((resolve) => void process.clock.after(random.whole(1, 200), resolve));
      const work = async (tx: SimulatedTransaction): Promise<void> => {
        await apply(name, tx, { message: context.message, publish: echoes ? (contract, data) => context.publish(contract, data) : undefined }, step);
        misbehave(step);
      };
      await (manual ? context.transaction!(work) : work(context.tx));
      if (process.dead) await new Promise(() => {});
    };

  if (service === 'shop') {
    bus.subscribe(Echoed, { name: 'echoes', retry, timeoutMs }, handler('shop.echoes'));
    return;
  }
  const { mode, order } = knobs;
  const registering: Readonly<Record<string, () => unknown>> = {
    steps: () =>
      bus.subscribe(
        Stepped,
        { name: 'steps', order, transaction: mode as 'shared', concurrency, batch, retry, timeoutMs },
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
          misbehave(step);
          if (process.dead) await new Promise(() => {});
        }
      });
    },
    prices: () => bus.subscribe(Priced, { name: 'prices', retry, concurrency, timeoutMs }, handler('basket.prices')),
    'old-prices': () =>
      bus.subscribe(PricedV1, { name: 'old-prices', order: 'by-key', retry, concurrency, batch, timeoutMs }, handler('basket.old-prices', true)),
    later: () => bus.subscribe(Later, { name: 'later', retry, timeoutMs }, handler('basket.later')),
    do: () => bus.handle(Do, { name: 'do', retry, timeoutMs }, handler('basket.do', true)),
  };
  for (const name of knobs.takes) registering[name]!();
  bus.handle(Ask, { name: 'ask', timeoutMs }, ({ n }) => ({ twice: n * 2 }));
}
