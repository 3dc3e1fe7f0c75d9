/** What a test may ask of its bus. */
import type { Bus, BusOptions } from '../contract/api.ts';
import type { CommandContract, EventContract } from '../contract/contracts.ts';
import type { FindingCode } from '../contract/doctor.ts';
import type { WireMessage } from '../contract/message.ts';
import type { SignalMap, SignalName } from '../contract/signals.ts';
import type { FailedRow, Store } from '../contract/store.ts';
import type { SqlTransaction } from '../contract/transaction.ts';
import type { Transport } from '../contract/transport.ts';
import type { VirtualClock } from './clock.ts';
import type { CrashPoint } from './crash-points.ts';

export interface TestBusOptions<Tx = SqlTransaction> extends Omit<BusOptions<Tx>, 'service' | 'handleSignals'> {
  /** @default every finding: what tests run on may forget */
  accept?: readonly FindingCode[];
  /** @default 'test' */
  service?: string;
  /** Factory or URL; the environment is not asked. @default SQLite in memory */
  store?: Store<Tx> | string;
  /**
   * Factory or URL; the environment is not asked. Test buses that are given the same value talk to each other, on one
   * clock. @default a memory transport of its own
   */
  transport?: Transport | string;
  /** A clock to share with buses on other transports. @default that of the transport, else a new one */
  clock?: VirtualClock;
  /** Every block and every handler's transaction runs twice, the first time rolled back. @default false */
  rerun?: boolean;
  /** Whether the first use starts the bus, together with those it shares its clock with. @default true */
  autoStart?: boolean;
}

/** What happened, in order: every signal of the bus, and its deaths. */
export type HistoryEntry = {
  [N in SignalName]: { readonly signal: N; readonly detail: SignalMap[N]; readonly atMs: number };
}[SignalName] | { readonly signal: 'crashed'; readonly detail: { readonly point: CrashPoint | undefined }; readonly atMs: number };

export interface TestBus<out Tx = unknown> extends Bus<Tx> {
  readonly clock: VirtualClock;
  /**
   * Resolves when nothing is in flight and nothing is due, in all buses that share the clock: ledgers sent, queues
   * empty, nothing received and unsettled, nothing that waits due. No sleeps. Virtual time stands still, unless
   * something hangs on it that is due now (a lease whose holder died, a pause after trouble): then up to 15 s go by.
   * @throws NotSettled with what is still going on, when that does not come to an end
   */
  settled(): Promise<void>;
  /** The data of what this bus has published of an event, as a handler would get it, in order of commit. */
  published<O>(event: EventContract<string, any, O, string>): O[];
  /** The data of what this bus has sent of a command, as its handler would get it, in order of commit. */
  sent<O>(command: CommandContract<string, any, O, any, any>): O[];
  /** Everything that this bus has committed to its ledger, in order, as bytes and headers. */
  messages(): readonly WireMessage[];
  /** What was given up, with its original bytes: the first 1,000. */
  failures(): Promise<readonly FailedRow[]>;
  /**
   * Delivers a message again to every subscription that took it, of all buses that share the clock, then settles.
   * @throws WaybillError `INVALID_ID` when none did
   */
  redeliver(id: string): Promise<void>;
  /** Lets virtual time go by, for all buses that share the clock: timers fire in the order they are due. Then settles what can. */
  advance(ms: number): Promise<void>;
  /**
   * The next time that this point is reached the process dies: nothing of this bus goes on, what it had promised never
   * comes (so do not await the call that dies: `void bus.publish(…); await bus.settled()`), its open transaction is
   * rolled back, its consumers are gone. Then it lives again, with the same subscriptions, on the same store and transport.
   * @param nth at which time of reaching it, from 1. @default 1
   * @throws WaybillError `INVALID_OPTION` when there is no such point
   */
  crashAfter(point: CrashPoint, nth?: number): void;
  /** The process dies now, as above. */
  crash(): void;
  /** Every signal so far, in order, with the virtual time in milliseconds since the clock began. */
  history(): readonly HistoryEntry[];
}
