import type { Bus, SignalName } from 'waybill';

/**
 * For tests: with `SHOP_CRASH_AT=catalog:published` the catalog kills itself, as kill -9 does, when its bus says that a
 * message is committed and nobody has been told of it yet. Off unless that variable names this service; start.ts gives it
 * to the first run of a service only, so that the run after the crash lives.
 */
export function armCrashPoint(bus: Bus, at = process.env['SHOP_CRASH_AT']): void {
  const [service, signal] = at?.split(':') ?? [];
  if (service !== bus.service || signal === undefined) return;
  bus.on(signal as SignalName, () => process.kill(process.pid, 'SIGKILL'));
}
