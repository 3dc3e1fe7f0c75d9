import { WaybillError } from '../contract/errors.ts';
import { type SignalMap, type SignalName, type Signals, signalNames } from '../contract/signals.ts';

/**
 * Signals of one bus. A listener runs at once, in the step that it hears of; one that throws is reported as `trouble`
 * (once, not about itself) and hurts nobody. Without listeners a signal costs one look into a map.
 */
export function createSignals(): Signals {
  const listeners = new Map<SignalName, Set<(detail: never) => void>>();

  const emit = <N extends SignalName>(name: N, detail: SignalMap[N]): void => {
    const heard = listeners.get(name);
    if (!heard) return;
    for (const listener of [...heard] as ((detail: SignalMap[N]) => unknown)[]) {
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
      const heard = listeners.get(name) ?? new Set();
      listeners.set(name, heard);
      heard.add(listener as never);
      return () => {
        heard.delete(listener as never);
        if (heard.size === 0 && listeners.get(name) === heard) listeners.delete(name);
      };
    },
  };
}
