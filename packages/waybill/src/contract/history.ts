/** What publishers have sent, read again from their ledgers: for subscribers that come later, for replay, for audit. */
import type { WireMessage } from './message.ts';

export interface HistoryQuery {
  readonly types: readonly string[];
  /** Where the last page ended; undefined: at the oldest row that is left. A driver's own text. */
  readonly after?: string | undefined;
  /** Only what was committed from this time on, to (not at) that one; wall time of the publisher's store. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  /** Messages to one page at most. There may be fewer, also none, while `more` says that there are others. */
  readonly max: number;
}

export interface HistoryPage {
  /** In the order they were committed, or (on a store with several writers) in that of each key. */
  readonly messages: readonly WireMessage[];
  readonly next: string | undefined;
  readonly more: boolean;
  /** Older rows have been removed (`horizonMs`), or may have been: this is not all that was ever sent. */
  readonly trimmed: boolean;
}

/** The ledgers of other services, as far as they can be asked. */
export interface History {
  /** Services that can be asked now. */
  sources(): Promise<readonly string[]>;
  /** @throws WaybillError `UNROUTABLE` when nobody of that name answers, `REPLY_TIMEOUT` when nobody does in time */
  read(source: string, query: HistoryQuery): Promise<HistoryPage>;
}
