import type { Store } from 'waybill';

/** What a publisher needs of the library that it is written in. */
export interface Library<Tx> {
  readonly store: Store<Tx>;
  /** A transaction as the library opens it. */
  transaction(work: (tx: Tx) => Promise<void>): Promise<void>;
  /** Moves the account; its new version. */
  move(tx: Tx, account: string, amount: number): Promise<number>;
}

export const connectionsMax = 3;
/** A server that is frozen gives no connection. */
export const connectMs = 5_000;
