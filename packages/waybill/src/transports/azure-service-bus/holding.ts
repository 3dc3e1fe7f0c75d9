/**
 * How many messages an instance holds at once. All of them are locked, and a lock is renewed by an operation that costs money,
 * and time that is then missing for the work; with many it may come too late, and what was done in vain comes again. So no more
 * is taken on than is finished before its lock is half over: it begins small, doubles when as many as it allows were finished
 * early, and is halved when one was finished late.
 */
const sizeFirst = 100;
/** Twice what two hundred a second would be, renewed every fifteen seconds. */
const sizeMax = 2_000;
/** Of a lock: a message that took less of it was finished early, and one that took this part twice was late. */
const earlyPart = 1 / 4;
/** For each message that is worked on, another one that waits. */
const sizeMinOf = (concurrency: number): number => Math.min(sizeMax, 2 * concurrency);

export class Holding {
  readonly #earlyMs: number;
  readonly #sizeMin: number;
  #size: number;
  #early = 0;
  /** Late ones that were taken on before it was halved say nothing new. */
  #spent = 0;

  constructor({ lockMs, concurrency }: { readonly lockMs: number; readonly concurrency: number }) {
    this.#earlyMs = lockMs * earlyPart;
    this.#sizeMin = sizeMinOf(concurrency);
    this.#size = Math.max(sizeFirst, this.#sizeMin);
  }

  get size(): number {
    return this.#size;
  }

  /** One was finished after so long, with so many in hand. */
  finished(heldMs: number, inHand: number): void {
    if (this.#spent > 0) this.#spent--;
    if (heldMs > 2 * this.#earlyMs) {
      this.#early = 0;
      if (this.#spent > 0) return;
      this.#spent = inHand;
      this.#size = Math.max(this.#sizeMin, this.#size >> 1);
    } else if (heldMs < this.#earlyMs && inHand > this.#size / 2 && ++this.#early >= this.#size) {
      this.#early = 0;
      this.#size = Math.min(sizeMax, this.#size * 2);
    }
  }
}
