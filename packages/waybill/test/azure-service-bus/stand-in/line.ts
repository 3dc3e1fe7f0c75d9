/** Messages that are ready to be taken, by sequence number; what comes back goes to its old place. */
export class Line<T extends { readonly seq: number }> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  first(): T | undefined {
    return this.#items[this.#head];
  }

  add(item: T): void {
    const last = this.#items.at(-1);
    if (this.length === 0 || last!.seq < item.seq) {
      this.#items.push(item);
      return;
    }
    let [low, high] = [this.#head, this.#items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#items[middle]!.seq < item.seq) low = middle + 1;
      else high = middle;
    }
    this.#items.splice(low, 0, item);
  }

  take(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head++;
    if (this.#head > 1_000 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  remove(item: T): void {
    const at = this.#items.indexOf(item, this.#head);
    if (at >= 0) this.#items.splice(at, 1);
  }
}
