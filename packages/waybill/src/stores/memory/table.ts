/**
 * Rows by key, and over them the changes of the one transaction that is open. Readers outside see `committed` alone;
 * `mark` and `rewind` are a savepoint. Rows are never changed in place.
 */
export class Table<Key, Row> {
  readonly committed: Map<Key, Row>;
  /** Made by the first change: most transactions leave most tables alone. */
  #changes: Map<Key, Row | undefined> | undefined;

  /** @param beneath a table over whose committed rows this one is another transaction's view */
  constructor(beneath?: Table<Key, Row>) {
    this.committed = beneath?.committed ?? new Map<Key, Row>();
  }

  /** What the open transaction has changed; undefined where it removed a row. */
  changes(): readonly (readonly [Key, Row | undefined])[] {
    return this.#changes ? [...this.#changes] : [];
  }

  get(key: Key): Row | undefined {
    return this.#changes?.has(key) ? this.#changes.get(key) : this.committed.get(key);
  }

  set(key: Key, row: Row): void {
    (this.#changes ??= new Map()).set(key, row);
  }

  delete(key: Key): void {
    (this.#changes ??= new Map()).set(key, undefined);
  }

  /** As the transaction sees them, in the order they were first written. */
  *rows(): Generator<Row> {
    for (const key of this.committed.keys()) {
      const row = this.get(key);
      if (row !== undefined) yield row;
    }
    for (const [key, row] of this.#changes ?? []) if (row !== undefined && !this.committed.has(key)) yield row;
  }

  mark(): () => void {
    const changes = this.#changes && new Map(this.#changes);
    return () => {
      this.#changes = changes && new Map(changes); // the mark may be needed again
    };
  }

  commit(): void {
    for (const [key, row] of this.#changes ?? []) {
      if (row === undefined) this.committed.delete(key);
      else this.committed.set(key, row);
    }
    this.#changes = undefined;
  }

  rollback(): void {
    this.#changes = undefined;
  }
}
