/** What a process that started the stand-in can tell it to do. */
import { AmqpError } from './amqp-error.ts';
import type { Step } from './faults.ts';
import type { StandIn } from './index.ts';

export type Order =
  /** Cuts connections at this step, each time with that chance, so many times. */
  | { readonly do: 'cut at'; readonly step: Step; readonly chance: number; readonly times: number }
  | { readonly do: 'cut all' }
  | { readonly do: 'expire locks' }
  | { readonly do: 'expire tokens' }
  | { readonly do: 'throttle' }
  /** One subscription or queue, with what it holds; `at`, in [0, 1), says which. */
  | { readonly do: 'delete'; readonly at: number }
  /** No more cuts, or no more throttling. */
  | { readonly do: 'cut no more' | 'serve' };

/** @returns the name of what was deleted */
export function obey(standIn: StandIn, order: Order): string | undefined {
  const { faults } = standIn;
  switch (order.do) {
    case 'cut at': {
      let left = order.times;
      faults.cutAt = (step) => step === order.step && left > 0 && Math.random() < order.chance && left-- > 0;
      break;
    }
    case 'cut no more':
      faults.cutAt = () => false;
      break;
    case 'cut all':
      standIn.cut();
      break;
    case 'expire locks':
      standIn.expireLocks();
      break;
    case 'expire tokens':
      standIn.expireTokens();
      break;
    case 'delete':
      return deleteOne(standIn, order.at);
    case 'throttle':
      faults.refuse = () => new AmqpError('com.microsoft:server-busy', 'The request was terminated because the namespace is being throttled.');
      break;
    case 'serve':
      faults.refuse = () => undefined;
  }
  return undefined;
}

function deleteOne({ namespace }: StandIn, at: number): string | undefined {
  const subscriptions = [...namespace.topics.values()].flatMap(({ path, subscriptions }) => [...subscriptions.values()].map(({ name }) => ({ name, remove: () => namespace.removeSubscription(path, name) })));
  const queues = [...namespace.queues.values()].map(({ entity: { path } }) => ({ name: path, remove: () => namespace.removeQueue(path) }));
  const all = [...subscriptions, ...queues];
  const victim = all[Math.floor(at * all.length)];
  victim?.remove();
  return victim?.name;
}
