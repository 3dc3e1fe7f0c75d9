/**
 * The process's own queue before its writing connection: one connection can hold one transaction, and SQLite's lock
 * cannot tell two of one connection apart. First come, first served.
 */
export class Mutex {
  #taken = false;
  readonly #waiting = new Set<() => void>();

  /** Takes it now if it is free. */
  tryTake(): boolean {
    if (this.#taken) return false;
    this.#taken = true;
    return true;
  }

  /** Resolves to true once it is taken, to false when that took longer than `waitMs`. */
  take(waitMs: number): Promise<boolean> {
    if (this.tryTake()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const mine = (): void => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(mine);
        resolve(false);
      }, waitMs);
      this.#waiting.add(mine);
    });
  }

  /** Hands it to the one that has waited longest. */
  give(): void {
    const next = this.#waiting.values().next();
    if (next.done === true) {
      this.#taken = false;
      return;
    }
    this.#waiting.delete(next.value);
    next.value();
  }
}
