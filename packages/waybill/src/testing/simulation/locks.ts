import { WaybillError } from '../../contract/errors.ts';
import type { Scheduler } from './scheduler.ts';

/**
 * Row locks, each held by one owner until it ends; those who wait get them in the order they came. Whoever would close a
 * circle of waiting is refused at once, whoever waits too long, then: both are to begin again.
 */
export class Locks<Owner extends object> {
  readonly #scheduler: Scheduler;
  readonly #waitMs: number;
  readonly #held = new Map<string, { owner: Owner; readonly line: { readonly owner: Owner; readonly granted: () => void }[] }>();
  readonly #of = new Map<Owner, Set<string>>();
  readonly #waitsFor = new Map<Owner, { readonly name: string; readonly leave: () => void }>();

  constructor(scheduler: Scheduler, waitMs: number) {
    this.#scheduler = scheduler;
    this.#waitMs = waitMs;
  }

  get size(): number {
    return this.#held.size;
  }

  async take(owner: Owner, name: string): Promise<void> {
    const held = this.#held.get(name);
    if (held === undefined) return this.#grant(owner, name);
    if (held.owner === owner) return;
    for (let at: Owner | undefined = held.owner; at; ) {
      if (at === owner) throw new WaybillError('STORE_BUSY', 'deadlock detected');
      const next = this.#waitsFor.get(at);
      at = next === undefined ? undefined : this.#held.get(next.name)?.owner;
    }
    try {
      await new Promise<void>((resolve, reject) => {
        const granted = (): void => {
          cancel();
          resolve();
        };
        const entry = { owner, granted };
        held.line.push(entry);
        const leave = (): void => {
          cancel();
          const at = held.line.indexOf(entry);
          if (at >= 0) held.line.splice(at, 1);
          reject(new WaybillError('STORE_BUSY', `waited for a lock, at most ${this.#waitMs} ms`));
        };
        const cancel = this.#scheduler.after(this.#waitMs, leave);
        this.#waitsFor.set(owner, { name, leave });
      });
    } finally {
      this.#waitsFor.delete(owner);
    }
  }

  /** Everything that it has, and its place in a line. */
  release(owner: Owner): void {
    this.#waitsFor.get(owner)?.leave();
    const names = this.#of.get(owner) ?? [];
    this.#of.delete(owner);
    for (const name of names) {
      const held = this.#held.get(name)!;
      const next = held.line.shift();
      if (!next) {
        this.#held.delete(name);
        continue;
      }
      held.owner = next.owner;
      this.#note(next.owner, name);
      next.granted();
    }
  }

  #grant(owner: Owner, name: string): void {
    this.#held.set(name, { owner, line: [] });
    this.#note(owner, name);
  }

  #note(owner: Owner, name: string): void {
    let names = this.#of.get(owner);
    if (!names) this.#of.set(owner, (names = new Set()));
    names.add(name);
  }
}
