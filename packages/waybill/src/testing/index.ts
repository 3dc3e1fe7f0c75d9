/** For tests of programs that use Waybill, and for authors of drivers. */
export { createTestBus } from './test-bus.ts';
export type { HistoryEntry, TestBus, TestBusOptions } from './api.ts';
export { NotSettled } from './world.ts';
export { crashPoints } from './crash-points.ts';
export type { CrashPoint } from './crash-points.ts';
export { virtualClock } from './clock.ts';
export type { VirtualClock, VirtualClockOptions } from './clock.ts';
export * from './conformance/index.ts';
export * from './simulation/index.ts';
