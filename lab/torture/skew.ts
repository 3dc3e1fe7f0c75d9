/** Loaded before all else: this process's wall clock is off. The monotonic clock, and timers, are not. */
import { skewVariable } from './role.ts';

const skewMs = Number(process.env[skewVariable] ?? 0);
if (skewMs !== 0) {
  const RealDate = Date;
  const now = (): number => RealDate.now() + skewMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args: unknown[], newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as object,
    apply: () => new RealDate(now()).toString(),
    get: (target, name, receiver) => (name === 'now' ? now : (Reflect.get(target, name, receiver) as unknown)),
  });
}
