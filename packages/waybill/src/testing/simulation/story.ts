/**
 * What a run leaves to be judged, in a form that a simulation and a torture run of real processes share: who committed
 * what, what was applied, what was given up. The checker knows nothing of where it came from.
 */
export interface Sent {
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly kind: 'event' | 'command' | 'reply';
  readonly key: string;
  readonly n: number;
  /** In the order of commits, within its source. */
  readonly position: number;
  /** Hash of its bytes. */
  readonly digest: string;
  readonly committedMs: number;
  /** Of a delayed message. */
  readonly dueMs?: number | undefined;
  /** The operation whose transaction it belongs to. */
  readonly operation?: string | undefined;
  /** The subscription whose effect it belongs to. */
  readonly by?: string | undefined;
}

export interface Applied {
  readonly subscription: string;
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly key: string;
  readonly n: number;
  /** In the order of commits, within its database. */
  readonly position: number;
  /** When it was committed, by the clock of `Sent.committedMs`. */
  readonly atMs?: number | undefined;
  /** The id of what was published with it. */
  readonly caused: string | undefined;
}

export interface Dead {
  /** Undefined: it could not be sent. */
  readonly subscription: string | undefined;
  readonly source: string;
  readonly id: string;
  readonly type: string;
  readonly key: string;
  readonly n: number;
  readonly code: string;
  readonly attempts: number;
  readonly digest: string;
}

/** One subscription, and what it takes. */
export interface Subscribed {
  readonly name: string;
  readonly service: string;
  readonly order: 'any' | 'by-key' | 'latest';
  /** The types of events or commands that it shall have applied, once per id. */
  readonly types: readonly string[];
  /** Runs at most, of a message whose handler throws. */
  readonly attemptsMax: number;
  /** The shortest pause before this attempt. */
  readonly pauseMs: (attempt: number) => number;
}

export interface Operation {
  readonly name: string;
  /** Committed by the final read of its database, with the ids of its messages; one for each time that it ran. */
  readonly commits: readonly (readonly string[])[];
  /** It shall happen once at most, however often it was asked for. */
  readonly once: boolean;
  /** The client was told that it is done. */
  readonly acknowledged: boolean;
}

/** What a handler was given. */
export interface Run {
  readonly subscription: string;
  readonly id: string;
  readonly attempt: number;
  readonly atMs: number;
}

/** What one committed step of a saga did, as the instance wrote it down. */
export interface Entry {
  readonly does: 'start' | 'again' | 'reserved' | 'charged' | 'refused' | 'cancelled' | 'timeout' | 'undo reserve' | 'undo charge';
  /** The message that it answered. */
  readonly id: string;
  readonly source: string;
  readonly type: string;
  /** The id of the command that it sent. */
  readonly caused: string | undefined;
  readonly atMs: number;
  /** When its timeout was last set. */
  readonly setMs: number;
}

/** An instance of the saga, and what others have done for it. */
export interface Conversation {
  readonly key: string;
  readonly status: string;
  readonly log: readonly Entry[];
  readonly patienceMs: number;
  /** At the other side: 0 nothing, 1 done, 2 taken back for good. */
  readonly held: Readonly<Record<'reserve' | 'charge', number>>;
  /** A message of it is in failures, for everybody to see. */
  readonly parked: boolean;
  /** The broker refused something that it sent. */
  readonly excused: boolean;
}

export interface Story {
  readonly sagas: readonly Conversation[];
  /** Events that begin a saga, and were sent. */
  readonly starts: readonly { readonly id: string; readonly key: string }[];
  /** Types of which each key has 1, 2, 3 and so on, without a gap. */
  readonly gapless: ReadonlySet<string>;
  /** Commands of sagas, in the ledger. */
  readonly asked: readonly { readonly id: string }[];
  readonly sent: readonly Sent[];
  /** Delayed messages that were taken back: they must not be there. */
  readonly cancelled: readonly string[];
  /** Those of which nobody knows. */
  readonly perhapsCancelled: readonly string[];
  readonly applied: readonly Applied[];
  readonly dead: readonly Dead[];
  readonly subscriptions: readonly Subscribed[];
  readonly operations: readonly Operation[];
  readonly runs: readonly Run[];
  /** Ids that no handler can deal with, and how it says so: each time, or at once for good. */
  readonly doomed: ReadonlyMap<string, 'throws' | 'rejects'>;
  /** How often a process died while a message's run had begun there, and no other's. */
  readonly crashedAlone: ReadonlyMap<string, number>;
  /** Ids whose handler kills the process: they must not have an effect. */
  readonly poison: ReadonlySet<string>;
  /** (source id) that the broker refused: they may be dead at their sender. */
  readonly refused: ReadonlySet<string>;
  /** The only keys with which anything went wrong: then the others' messages must not take long. */
  readonly troubled?: ReadonlySet<string> | undefined;
  /** Found while it ran: rules that are about a moment. */
  readonly seen: readonly Violation[];
  /** Types that are published together, under one id: the first never without the others. */
  readonly together: readonly (readonly string[])[];
  /** What is left although it should not be: of rows, locks, messages in hand. */
  readonly left: readonly string[];
  /** (source id) that a restore took from its source's ledger: an effect of it stands. @default none */
  readonly gone?: ReadonlySet<string> | undefined;
  /** (subscription id) that was lost on the way and published again: it may come behind later ones of its key. @default none */
  readonly late?: ReadonlySet<string> | undefined;
  /** What was told of each message, for the story of a violation: by id. */
  readonly told: ReadonlyMap<string, readonly string[]>;
}

export interface Violation {
  /** `I1` to `I23`: design/guarantees. */
  readonly invariant: string;
  readonly what: string;
  /** Of which message. */
  readonly id?: string;
}
