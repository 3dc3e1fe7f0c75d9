/** What the common cases need to know of a library. */
export interface Library {
  readonly name: string;
  /** A root client of at most `max` connections. */
  open(url: string, max: number): Promise<Root>;
}

export interface Root {
  readonly root: object;
  /** The library's own transaction, as its users open it. */
  transaction<R>(work: (native: any) => Promise<R>): Promise<R>;
  /** One statement of the user's own, in his transaction. */
  sql(native: any, text: string): Promise<unknown>;
  close(): Promise<void>;
}
