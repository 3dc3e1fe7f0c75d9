/**
 * One line that grows while the shop starts. Whoever prints something else meanwhile breaks it off first: what was reached
 * so far is said again in front of the next step, so that each line is whole and the last one tells everything.
 */
export class Progress {
  readonly #write: (text: string) => void;
  #said = '';
  #isOpen = false;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  add(step: string): void {
    this.#write(this.#isOpen ? step : this.#said + step);
    this.#said += step;
    this.#isOpen = true;
  }

  /** Ends the line, if one has begun: the next thing written stands on a line of its own. */
  breakOff(): void {
    if (this.#isOpen) this.#write('\n');
    this.#isOpen = false;
  }
}
