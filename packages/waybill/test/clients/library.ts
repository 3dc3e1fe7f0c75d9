/** A database library as its users hold it: what the tests need to know of it. */
export interface Library {
  readonly name: string;
  /** A root client of at most `max` connections. */
  open(url: string, max: number): Promise<Root>;
}

export interface Root {
  readonly root: object;
  /** The library's own transaction, as its users open it. */
  transaction<R>(work: (native: any) => Promise<R>): Promise<R>;
  /** One statement of the user's own, in a transaction, by the library's own means; `$1` placeholders. */
  rows(native: any, text: string, values?: readonly unknown[]): Promise<readonly any[]>;
  close(): Promise<void>;
}
