/**
 * A process of the simulated machines, and its calls to the world outside. It can die, stand still, and have a clock that
 * is wrong. Nothing of a process that died goes on: what its code awaits never comes.
 */
import { uuidv7, type Clock } from '../../contract/clock.ts';
import { isLater } from '../../contract/maybe.ts';
import type { Chance } from './chance.ts';
import type { CallName, FaultKind, Faults, Point } from './faults.ts';
import type { Scheduler } from './scheduler.ts';
import type { Trace } from './trace.ts';

/** Wall time at the start of every run. */
export const startMs: number = Date.UTC(2030, 0, 1);

export interface Machine {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  /** Latencies, jitter, ids. */
  readonly chance: Chance;
  readonly trace: Trace;
  /** How long a call is on its way, or its answer. */
  readonly latencyMs: (random: Chance) => number;
  /** Calls to the outside so far, over all processes. */
  calls: number;
  /** All processes die now. */
  powerOff(): void;
}

/** Raised in place of an answer. */
export type Trouble = (kind: FaultKind, point: Point) => Error | undefined;

export class Process {
  readonly name: string;
  readonly machine: Machine;
  readonly clock: Clock;
  #dead = false;
  #awakeMs = 0;
  #skewMs = 0;
  readonly #onDeath = new Set<() => void>();
  /** What it is to hear once it goes on. */
  #held: (() => void)[] = [];
  #waking: (() => void) | undefined;

  constructor(name: string, machine: Machine) {
    this.name = name;
    this.machine = machine;
    const { scheduler } = machine;
    const random = machine.chance.stream(name);
    const now = (): number => startMs + scheduler.nowMs + this.#skewMs;
    this.clock = {
      now,
      monotonic: () => scheduler.nowMs,
      after: (delayMs, fn) => {
        if (this.#dead) return () => {};
        let over = false;
        const cancel = scheduler.after(delayMs, () => this.hear(() => void (over || fn())));
        return () => {
          over = true;
          cancel();
        };
      },
      turn: () => this.until(scheduler.sleep(0)),
      random: random.next,
      id: uuidv7(now, (bytes) => {
        for (let at = 0; at < bytes.length; at++) bytes[at] = Math.floor(random.next() * 256);
      }),
    };
  }

  get dead(): boolean {
    return this.#dead;
  }

  get standsStill(): boolean {
    return !this.#dead && this.#awakeMs > this.machine.scheduler.nowMs;
  }

  /** Told when it dies: its connections are gone then. */
  onDeath(fn: () => void): () => void {
    this.#onDeath.add(fn);
    return () => void this.#onDeath.delete(fn);
  }

  die(why: string): void {
    if (this.#dead) return;
    this.#dead = true;
    this.machine.trace.line(`${this.name} dies: ${why}`);
    this.#held = [];
    for (const fn of [...this.#onDeath]) fn();
    this.#onDeath.clear();
  }

  pause(ms: number): void {
    this.machine.trace.line(`${this.name} stands still for ${ms} ms`);
    this.#awakeMs = Math.max(this.#awakeMs, this.machine.scheduler.nowMs + ms);
    this.#waking?.();
    this.#waking = this.machine.scheduler.after(this.#awakeMs - this.machine.scheduler.nowMs, () => this.wake());
  }

  /** Goes on at once. */
  wake(): void {
    this.#awakeMs = 0;
    this.#waking?.();
    this.#waking = undefined;
    const held = this.#held;
    this.#held = [];
    for (const fn of held) if (!this.#dead) fn();
  }

  jump(ms: number): void {
    this.machine.trace.line(`${this.name}'s clock jumps by ${ms} ms`);
    this.#skewMs = ms;
  }

  /** Runs `fn` as something that reaches this process: later if it stands still, never if it is dead. */
  hear(fn: () => void): void {
    if (this.#dead) return;
    if (this.standsStill) this.#held.push(fn);
    else fn();
  }

  /** The result of something outside, as this process gets to hear of it. */
  until<R>(result: Promise<R>): Promise<R> {
    return new Promise((resolve, reject) => {
      result.then(
        (value) => this.hear(() => resolve(value)),
        (error: unknown) => this.hear(() => reject(error as Error)),
      );
    });
  }

  /**
   * One call to the outside, with its faults. `effect` runs at the other side, also while this process stands still;
   * what `trouble` returns is thrown in place of the answer, undefined stands for a fault that changes nothing here.
   */
  call<R>(name: CallName, effect: (fault: FaultKind | undefined) => R | Promise<R>, trouble: Trouble): Promise<R> {
    if (this.#dead) return never();
    return new Promise((resolve, reject) => {
      const { scheduler, faults, chance, trace, latencyMs } = this.machine;
      const number = ++this.machine.calls;
      const random = chance.stream(number);
      let fault: { readonly kind: FaultKind; readonly point: Point } | undefined;
      const fail = (error: unknown): void => this.hear(() => reject(error as Error));
      /** @returns whether that was the end of it */
      const struck = (point: Point): boolean => {
        if (fault?.point !== point) return false;
        if (this.#strikes(fault.kind, `${point} ${name}`, random)) return true; // nobody is there who could hear of it
        const error = trouble(fault.kind, point);
        if (error) fail(error);
        return error !== undefined;
      };
      const answer = (result: R): void => {
        if (struck('after')) return;
        const heard = (): void => this.hear(() => resolve(result));
        if (random.is(0.25)) scheduler.after(latencyMs(random), heard);
        else heard();
      };
      scheduler.after(latencyMs(random), () => {
        if (this.#dead) return;
        fault = faults.at(number, name);
        trace.call(scheduler.nowMs, this.name, name, fault);
        if (struck('before')) return;
        try {
          const result = effect(fault?.kind);
          if (isLater(result)) result.then(answer, fail);
          else answer(result);
        } catch (error) {
          fail(error);
        }
      });
    });
  }

  /** @returns whether the process is dead now */
  #strikes(kind: FaultKind, where: string, random: Chance): boolean {
    if (kind === 'crash') this.die(`crash ${where}`);
    else if (kind === 'power') this.machine.powerOff();
    else if (kind === 'pause') this.pause(random.pick([300, 2_000, 8_000, 20_000]));
    else if (kind === 'clock') this.jump(random.pick([-60_000, -5_000, 5_000, 60_000]));
    return this.#dead;
  }
}

/** Some milliseconds: nothing is in its way. */
export function shortLatencyMs(random: Chance): number {
  return 0.1 + 2 * random.next();
}

/** Mostly short, sometimes long. */
export function latencyMs(random: Chance): number {
  return random.is(0.02) ? random.whole(20, 300) : shortLatencyMs(random);
}

export function never(): Promise<never> {
  return new Promise(() => {});
}
