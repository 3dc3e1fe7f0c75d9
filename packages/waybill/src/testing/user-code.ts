import { type Life, never } from './life.ts';

/** The user's handlers and blocks while they run, so that nobody moves the time meanwhile. */
export interface UserCode {
  /** The same function, which is known to run while it does. Anything else is left as it is: the bus refuses it. */
  counted<F extends ((...given: any[]) => unknown) | undefined>(name: string, fn: F): F;
  /** What runs, by name. */
  running(): readonly string[];
}

export function createUserCode(of: { service: string; life: () => Life; onActivity: () => void }): UserCode {
  const running = new Map<object, { readonly name: string; readonly life: Life }>();
  return {
    counted(name, fn) {
      if (typeof fn !== 'function') return fn;
      return (async (...given: unknown[]) => {
        const life = of.life();
        const run = {};
        running.set(run, { name, life });
        of.onActivity();
        const over = (): void => {
          running.delete(run);
          of.onActivity();
        };
        // A handler whose time is up is nobody's any more, also if its code goes on.
        (given[1] as { signal?: AbortSignal } | undefined)?.signal?.addEventListener('abort', over, { once: true });
        try {
          return await fn(...given);
        } finally {
          over();
          if (life.dead) await never();
        }
      }) as typeof fn;
    },
    running: () => [...running.values()].filter(({ life }) => !life.dead).map(({ name }) => `${of.service}: ${name} runs`),
  };
}
