/**
 * One life of a bus: from its start to its end, or to the moment where a test lets it die. After that moment nothing of
 * it goes on: what it awaits never comes, its timers do not fire, what it says is not heard. The code of a process
 * cannot really be ended, so its way out is cut off everywhere: at its clock, its signals, its store and its transport.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../contract/clock.ts';
import type { Signals } from '../contract/signals.ts';

export interface Life {
  readonly dead: boolean;
  /** Rejects at death, for what must be undone then. */
  readonly death: Promise<never>;
  readonly clock: Clock;
  readonly signals: Signals;
  /** Operations on store and transport that are under way. */
  readonly busy: number;
  end(): void;
  /** An operation: counted while it runs; a result that comes after death does not arrive. */
  operation<R>(run: () => R): R;
  /** As `operation`, not counted: a wait. */
  wait<R>(run: () => R): R;
  /** Runs `work` as part of this life, so that what it calls later is known to be. */
  within<R>(work: () => R): R;
}

/** What a dead process would have waited for. */
export function never(): Promise<never> {
  return new Promise(() => {});
}

/** Thrown into an open transaction at death, so that it is rolled back. */
export class Died extends Error {
  override readonly name: string = 'Died';
}

const living = new AsyncLocalStorage<Life>();

/** The life that the running code belongs to: a handler's, or a block's. A test's own code belongs to none. */
export function currentLife(): Life | undefined {
  return living.getStore();
}

export function createLife(options: { clock: Clock; signals: Signals; onActivity: () => void }): Life {
  const { onActivity } = options;
  const timers = new Set<() => void>();
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {}); // not everybody has something to undo
  let dead = false;
  let busy = 0;

  const mortal = <R>(result: Promise<R>, settled: () => void): Promise<R> =>
    new Promise((resolve, reject) => {
      result.then(
        (value) => {
          settled();
          if (!dead) resolve(value);
        },
        (error: unknown) => {
          settled();
          if (!dead) reject(error as Error);
        },
      );
    });

  const guarded = <R>(run: () => R, began: () => void, settled: () => void): R => {
    if (dead) return never() as R;
    began();
    let result: R;
    try {
      result = run();
    } catch (error) {
      settled();
      throw error;
    }
    if (result instanceof Promise) return mortal(result, settled) as R;
    settled();
    return dead ? (never() as R) : result;
  };

  const life: Life = {
    get dead() {
      return dead;
    },
    get busy() {
      return busy;
    },
    death: ended.promise,
    clock: {
      now: options.clock.now,
      monotonic: options.clock.monotonic,
      random: options.clock.random,
      id: options.clock.id,
      after(delayMs, fn) {
        if (dead) return () => {};
        const stop = options.clock.after(delayMs, () => {
          timers.delete(cancel);
          fn();
        });
        const cancel = (): void => {
          timers.delete(cancel);
          stop();
        };
        timers.add(cancel);
        return cancel;
      },
      turn: () => life.operation(() => options.clock.turn()),
    },
    signals: {
      emit(name, detail) {
        if (!dead) options.signals.emit(name, detail);
      },
      has: options.signals.has,
      on: options.signals.on,
    },
    end() {
      if (dead) return;
      dead = true;
      busy = 0;
      for (const cancel of [...timers]) cancel();
      ended.reject(new Died('the process died here'));
      onActivity();
    },
    operation: (run) =>
      guarded(
        run,
        () => {
          busy++;
          onActivity();
        },
        () => {
          if (!dead) busy--;
          onActivity();
        },
      ),
    wait: (run) => guarded(run, onActivity, onActivity),
    within: (work) => living.run(life, work),
  };
  return life;
}
