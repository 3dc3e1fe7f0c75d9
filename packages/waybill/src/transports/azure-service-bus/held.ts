import type { Delivery } from '../../contract/transport.ts';
import type { AzureReceived } from './client.ts';
import type { Arrived } from './wire.ts';

/**
 * A message that this instance holds. What moves it:
 *
 *     buffered ─taken─► given ─settle─► done
 *         ▲               │ ├─abandon─► done
 *         └────release────┘ └─the lock is lost─► lost
 *
 * A buffered one may be abandoned or lost as well.
 */
export interface Held {
  readonly message: AzureReceived;
  readonly arrived: Arrived;
  readonly source: Source;
  /** Its rank among what came to this consumer, kept when it goes back to the buffer. */
  readonly place: number;
  /** When it came, by the monotonic clock. */
  readonly sinceMs: number;
  state: 'buffered' | 'given' | 'done' | 'lost';
  /** Was given before, here. */
  again: boolean;
  readonly suspect: boolean;
  delivery: Delivery | undefined;
  /** Makes room for another one: the receiver's credit. */
  free(): void;
}

/** What a source tells of. */
export interface Sink {
  arrived(source: Source, message: AzureReceived, suspect: boolean, free: () => void): void;
  /** Locks of that source's messages are lost: they come again. */
  lost(source: Source): void;
  /** The broker is away, or refuses; the next receive tells, and the one after tries again. */
  broken(error: unknown): void;
  /** What it receives from has been removed. */
  gone(): void;
  /** It takes nothing for now: whoever waits has to ask anew. */
  anew(): void;
  /** Whether somebody waits, and nothing is there. */
  hungry(): boolean;
}

/** One or more links to one entity: all its free locks, or those of one session. */
export interface Source {
  readonly kind: 'event' | 'command' | 'reply';
  complete(held: Held): Promise<void>;
  abandon(held: Held, changes: { [name: string]: number } | undefined): Promise<void>;
  /**
   * So many acknowledgements are under way that they make no room for other messages before they have come through: a broker that is
   * slow to take them would else be asked for ever more, until locks run out on the way.
   */
  readonly isBehind: boolean;
  /** Whether its messages may still be settled: false once its session is lost. */
  readonly holds: boolean;
}
