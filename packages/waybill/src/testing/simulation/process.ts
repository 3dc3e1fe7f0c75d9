/**
 * A process of the simulated machines, and its calls to the world outside. It can die, stand still, and have a clock that
 * is wrong. Nothing of a process that died goes on: what its code awaits never comes.
 */
import { uuidv7, type Clock } from '../../contract/clock.ts';
import type { Chance } from './chance.ts';
import type { CallName, FaultKind, Faults, Point } from './faults.ts';
import type { Scheduler } from './scheduler.ts';

/** Wall time at the start of every run. */
export const startMs: number = Date.UTC(2030, 0, 1);

export interface Machine {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  /** Latencies, jitter, ids. */
  readonly chance: Chance;
  /** Adds a line to the trace, which is hashed. */
  trace(line: string): void;
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
    this.machine.trace(`${this.name} dies: ${why}`);
    this.#held = [];
    for (const fn of [...this.#onDeath]) fn();
    this.#onDeath.clear();
  }

  pause(ms: number): void {
    this.machine.trace(`${this.name} stands still for ${ms} ms`);
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
    this.machine.trace(`${this.name}'s clock jumps by ${ms} ms`);
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
    return this.until(this.#call(name, effect, trouble));
  }

  async #call<R>(name: CallName, effect: (fault: FaultKind | undefined) => R | Promise<R>, trouble: Trouble): Promise<R> {
    const { scheduler, faults, chance } = this.machine;
    const number = ++calls(this.machine).count;
    const random = chance.stream(number);
    await scheduler.sleep(latencyMs(random));
    if (this.#dead) return never();
    const fault = faults.at(number, name);
    this.machine.trace(`${scheduler.nowMs.toFixed(3)} ${this.name} ${name}${fault ? ` ${fault.kind} ${fault.point}` : ''}`);
    if (fault?.point === 'before') {
      if (this.#strikes(fault.kind, `before ${name}`, random)) return never();
      const error = trouble(fault.kind, 'before');
      if (error) throw error;
    }
    const result = await effect(fault?.kind);
    if (fault?.point === 'after') {
      if (this.#strikes(fault.kind, `after ${name}`, random)) return never();
      const error = trouble(fault.kind, 'after');
      if (error) throw error;
    }
    if (random.is(0.25)) await scheduler.sleep(latencyMs(random));
    return result;
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

const counters = new WeakMap<Machine, { count: number }>();

function calls(machine: Machine): { count: number } {
  let counter = counters.get(machine);
  if (!counter) counters.set(machine, (counter = { count: 0 }));
  return counter;
}

/** Mostly short, sometimes long. */
function latencyMs(random: Chance): number {
  const draw = random.next();
  if (draw < 0.02) return random.whole(20, 300);
  return 0.1 + 2 * random.next();
}

export function never(): Promise<never> {
  return new Promise(() => {});
}
