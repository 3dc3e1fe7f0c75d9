import type { Bus } from './api.ts';
import type { Clock } from './clock.ts';
import { WaybillError } from './errors.ts';
import type { Plan } from './handling.ts';
import type { SagaDefinition } from './saga.ts';
import type { StoreSession } from './store.ts';
import type { SourceProgress } from './transport.ts';

/** What `operations` and `testing` may reach behind a bus. Not public. */
export interface BusInternals {
  readonly service: string;
  readonly clock: Clock;
  /** Opens the store if that has not been done. */
  store(): Promise<StoreSession>;
  failures(): Promise<{
    retry(rows: readonly number[]): Promise<number>;
    delete(rows: readonly number[]): Promise<number>;
  }>;
  subscriptions(): readonly { readonly plan: Plan; readonly active: boolean; readonly sources: readonly SourceProgress[] }[];
  /** Sagas that this bus runs, by full name. */
  sagas(): ReadonlyMap<string, SagaDefinition>;
  /** Looks at what waits now, instead of when it was due. */
  wake(): void;
  /** Messages received and not settled, and transactions of own publishes that run. */
  inFlight(): number;
}

export const internalsKey: unique symbol = Symbol.for('waybill.internals') as never;

export function internalsOf(bus: Bus): BusInternals {
  const found = (bus as { [internalsKey]?: BusInternals } | undefined)?.[internalsKey];
  if (found) return found;
  throw new WaybillError('INVALID_OPTION', 'this is no bus: pass what createBus() returned');
}
