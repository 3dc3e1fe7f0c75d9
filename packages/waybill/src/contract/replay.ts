/** A replay as it is kept: what was asked for and how far it is, in one waiting row, so that it outlives every process. */
import type { WireMessage } from './message.ts';
import type { Due, WaitingEntry, WaitingRow } from './store.ts';

export interface StoredReplay {
  /** Full name. */
  readonly subscription: string;
  readonly askedMs: number;
  readonly sources: readonly string[];
  readonly sinceMs?: number;
  readonly untilMs: number;
  readonly perSecond: number;
  readonly again: boolean;
  /** How far each source has been read. */
  readonly after: Readonly<Record<string, string>>;
  /** Sources that have been read to their end. */
  readonly finished: readonly string[];
  readonly trimmed: readonly string[];
  readonly read: number;
  readonly added: number;
  readonly known: number;
  readonly state: 'running' | 'done' | 'aborted' | 'failed';
  /** Times in a row that the source could not be read, and why. */
  readonly tries: number;
  readonly error?: { readonly code: string; readonly message: string };
}

/** What is over stays in the list so long. */
export const replayKeptMs: number = 7 * 86_400_000;

/** No subscription can have this name. */
export function replaysOf(service: string): string {
  return `${service}.~replays`;
}

export function replayMessage(service: string, id: string, replay: StoredReplay): WireMessage {
  const body = Buffer.from(JSON.stringify(replay));
  return { kind: 'event', id: `replay:${id}`, source: service, type: 'waybill.replay.v1', recipient: undefined, key: undefined, time: replay.askedMs, headers: {}, body };
}

/** `attempt` counts what was written: who read the row before cannot write over it. */
export function replayEntry(service: string, id: string, replay: StoredReplay, dueMs: Due): WaitingEntry {
  return {
    subscription: replaysOf(service),
    message: replayMessage(service, id, replay),
    dueMs,
    attempt: 0,
    attempts: 1,
    firstFailedMs: undefined,
    error: undefined,
    reason: 'replay',
    inOrder: false,
  };
}

export function readReplay({ message }: WaitingRow): { readonly id: string; readonly replay: StoredReplay } {
  return { id: message.id.slice('replay:'.length), replay: JSON.parse(Buffer.from(message.body).toString()) as StoredReplay };
}
