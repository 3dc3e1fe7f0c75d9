import { WaybillError } from '../contract/errors.ts';
import { type SignalMap, type SignalName, type Signals, signalNames } from '../contract/signals.ts';

/**
 * Signals of one bus. A listener runs at once, in the step that it hears of; one that throws is reported as `trouble`
 * (once, not about itself) and hurts nobody. Without listeners a signal costs one look into a map.
 */
export function createSignals(): Signals {
  /** Each list is made anew when it changes, so that one that is being told stays as it is. */
  const listeners = new Map<SignalName, readonly ((detail: never) => void)[]>();

  const emit = <N extends SignalName>(name: N, detail: SignalMap[N]): void => {
    const heard = listeners.get(name);
    if (!heard) return;
    for (const listener of heard as readonly ((detail: SignalMap[N]) => unknown)[]) {
      try {
        const result = listener(detail);
        if (result instanceof Promise) result.catch((error: unknown) => trouble(name, error));
      } catch (error) {
        trouble(name, error);
      }
    }
  };
  const trouble = (name: SignalName, error: unknown): void => {
    if (name !== 'trouble') emit('trouble', { where: `a listener of '${name}'`, error });
  };

  return {
    emit,
    has: (name) => listeners.has(name),
    on(name, listener) {
      if (!signalNames.has(name)) throw new WaybillError('INVALID_OPTION', `there is no signal ${JSON.stringify(name)}; there are ${[...signalNames].join(', ')}`);
      if (typeof listener !== 'function') throw new WaybillError('INVALID_OPTION', `the listener of '${name}' must be a function`);
      const heard = listeners.get(name) ?? [];
      if (!heard.includes(listener as never)) listeners.set(name, [...heard, listener as never]);
      let stopped = false;
      return () => {
        if (stopped) return; // it may be listening again, by another call
        stopped = true;
        const left = (listeners.get(name) ?? []).filter((other) => other !== (listener as never));
        if (left.length > 0) listeners.set(name, left);
        else listeners.delete(name);
      };
    },
  };
}
