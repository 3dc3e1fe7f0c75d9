/** Everything that happened in a run, in order: as one number, which a second run must come to, and on request as lines. */
import { mix } from './chance.ts';
import type { CallName, FaultKind, Point } from './faults.ts';

export class Trace {
  readonly lines: string[] = [];
  readonly #keeps: boolean;
  #hash = 0;

  constructor(keeps: boolean) {
    this.#keeps = keeps;
  }

  get hash(): string {
    return this.#hash.toString(16).padStart(8, '0');
  }

  line(text: string): void {
    this.#hash = mix(text, this.#hash);
    if (this.#keeps) this.lines.push(text);
  }

  /** Of these there are thousands in a run, so their line is written only if somebody wants to read it. */
  call(atMs: number, process: string, name: CallName, fault: { readonly kind: FaultKind; readonly point: Point } | undefined): void {
    this.#hash = mix(name, mix(process, this.#hash ^ Math.floor(atMs * 1_000)));
    if (fault) this.#hash = mix(fault.kind, mix(fault.point, this.#hash));
    if (this.#keeps) this.lines.push(`${atMs.toFixed(3)} ${process} ${name}${fault ? ` ${fault.kind} ${fault.point}` : ''}`);
  }
}
