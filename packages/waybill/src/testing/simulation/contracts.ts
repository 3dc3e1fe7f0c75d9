/** What the simulated services tell each other. */
import { type CommandContract, type EventContract, defineCommand, defineEvent } from '../../contract/contracts.ts';
import type { StandardSchema } from '../../contract/schema.ts';

export const any = <T>(): StandardSchema<T, T> => ({ '~standard': { version: 1, vendor: 'simulation', validate: (value) => ({ value: value as T }) } });

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
export const PricedV1: Marked<'shop.priced'> = defineEvent('shop.priced', { schema: any<Step>(), ...marks });
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

/** An order begins a saga, which has the shop reserve and charge, or takes back what it has had done. */
export interface Order extends Step {
  /** The saga waits no longer than this for each answer. */
  readonly patienceMs: number;
}
/** What a saga asks the shop for; `saga` names the instance. */
export interface Work extends Step {
  readonly saga: string;
  readonly step: 'reserve' | 'charge';
}
type Asks<Name extends string> = CommandContract<Name, Work, Work, { ok: true }, { ok: true }>;
const byKey = { key: (step: Step) => step.key };

export const Ordered: EventContract<'shop.ordered', Order, Order, 'key'> = defineEvent('shop.ordered', { schema: any<Order>(), ...byKey });
export const Cancelled: EventContract<'shop.cancelled', Step, Step, 'key'> = defineEvent('shop.cancelled', { schema: any<Step>(), ...byKey });
export const Reserve: Asks<'shop.reserve'> = defineCommand('shop.reserve', { schema: any<Work>(), reply: any<{ ok: true }>() });
export const Charge: Asks<'shop.charge'> = defineCommand('shop.charge', { schema: any<Work>(), reply: any<{ ok: true }>() });
export const Release: CommandContract<'shop.release', Work, Work> = defineCommand('shop.release', { schema: any<Work>() });

/** What the streams of the shop hold. */
export const Counted: EventContract<'shop.counted', Step, Step, 'key'> = defineEvent('shop.counted', { schema: any<Step>(), ...byKey });
