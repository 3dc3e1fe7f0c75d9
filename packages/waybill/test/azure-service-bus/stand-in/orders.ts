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
  /** No more cuts, or no more throttling. */
  | { readonly do: 'cut no more' | 'serve' };

export function obey(standIn: StandIn, order: Order): void {
  const { faults } = standIn;
  switch (order.do) {
    case 'cut at': {
      let left = order.times;
      faults.cutAt = (step) => step === order.step && left > 0 && Math.random() < order.chance && left-- > 0;
      return;
    }
    case 'cut no more':
      faults.cutAt = () => false;
      return;
    case 'cut all':
      return standIn.cut();
    case 'expire locks':
      return standIn.expireLocks();
    case 'expire tokens':
      return standIn.expireTokens();
    case 'throttle':
      faults.refuse = () => new AmqpError('com.microsoft:server-busy', 'The request was terminated because the namespace is being throttled.');
      return;
    case 'serve':
      faults.refuse = () => undefined;
  }
}
