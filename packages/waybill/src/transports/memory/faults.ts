import { WaybillError } from '../../contract/errors.ts';
import type { WireMessage } from '../../contract/message.ts';

export interface FaultSwitches {
  /**
   * The broker is away: `send` and `receive` reject, unsettled deliveries go back. `'after-storing'`: what is sent is
   * stored and only the answer is lost, so that it will be sent again.
   */
  away: false | true | 'after-storing';
  /** Stores a message twice, as after a confirmation that was lost on the way. */
  duplicate: (message: WireMessage) => boolean;
  /** Refuses a message for good, with this reason. */
  refuse: (message: WireMessage) => string | undefined;
}

const none: FaultSwitches = { away: false, duplicate: () => false, refuse: () => undefined };

/** The broker's switches for trouble, read at each step. */
export class Faults implements Readonly<FaultSwitches> {
  away: FaultSwitches['away'] = none.away;
  duplicate: FaultSwitches['duplicate'] = none.duplicate;
  refuse: FaultSwitches['refuse'] = none.refuse;
  readonly #listeners = new Set<() => void>();

  set(switches: Partial<FaultSwitches>): void {
    Object.assign(this, switches);
    for (const listener of this.#listeners) listener();
  }

  clear(): void {
    this.set(none);
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }
}

export function unreachable(why: string): WaybillError {
  return new WaybillError('TRANSPORT_UNREACHABLE', `memory transport: ${why}`);
}
