import type { Clock } from '../../contract/clock.ts';
import type { Logger, SignalMap, SignalName, Signals } from '../../contract/signals.ts';
import type { Host } from '../../contract/store.ts';

/** What a bus would lend to a driver, and what the driver reported with it. */
export interface RecordingHost extends Host {
  readonly reports: readonly { readonly name: string; readonly detail: unknown }[];
}

/** @param reports shared by all hosts of a world */
export function recordingHost(
  service: string,
  clock: Clock,
  reports: { name: string; detail: unknown }[] = [],
  migrate: Host['migrate'] = 'auto',
): RecordingHost {
  const report = (name: string, detail: unknown): void => void reports.push({ name, detail });
  const signals: Signals = {
    emit: <N extends SignalName>(name: N, detail: SignalMap[N]) => report(name, detail),
    has: () => true,
    on: () => () => {},
  };
  const logger: Logger = {
    debug: () => {},
    info: () => {},
    warn: (details, text) => report('warn', { details, text }),
    error: (details, text) => report('error', { details, text }),
  };
  return { service, clock, signals, logger, migrate, reports };
}
