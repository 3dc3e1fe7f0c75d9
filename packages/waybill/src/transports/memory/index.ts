/**
 * A broker within this process. Every bus that is given the same `memory()` value talks over it; two values know
 * nothing of each other. It is the reference for the transport port, and no kinder than a real broker: what was not
 * settled comes again, an acknowledgement can come too late, and tests can make it fail (`faults`).
 *
 * What a crash leaves behind: the process that ends takes the broker with it. For a process that only seems to end (its
 * session is closed, or the broker was away), everything unsettled goes back to its old place.
 */
import type { Transport } from '../../contract/transport.ts';
import { Broker } from './broker.ts';
import { Faults } from './faults.ts';
import { connect } from './session.ts';

export interface MemoryTransport extends Transport {
  /** What goes wrong, on a test's command. Nothing by default. */
  readonly faults: Faults;
}

/** A transport for one process: for tests, and for programs whose parts need no memory of each other. URL `memory:`. */
export function memory(): MemoryTransport {
  const faults = new Faults();
  const broker = new Broker(faults);
  return {
    kind: 'memory',
    faults,
    connect: (host) => Promise.resolve(connect(broker, host)),
  };
}

export type { Faults };
export type { FaultSwitches } from './faults.ts';
