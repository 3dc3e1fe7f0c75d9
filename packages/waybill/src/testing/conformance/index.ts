/** The conformance suites, for authors of drivers: cases as data, runnable under any test runner. */
export { runCase, skipReason } from './conformance.ts';
export type { Case, Driver } from './conformance.ts';
export { gaps, unnoticed } from './sabotage.ts';
export type { Sabotage } from './sabotage.ts';
export { storeCases } from './store/cases.ts';
export { storeSabotages } from './store/sabotage.ts';
export type { StoreAbility, StoreCase, StoreDriver, StoreWorld } from './store/world.ts';
export { transportCases } from './transport/cases.ts';
export { transportSabotages } from './transport/sabotage.ts';
export type { Peer, TransportAbility, TransportCase, TransportDriver, TransportWorld } from './transport/world.ts';
export { recordingHost } from './host.ts';
export type { RecordingHost } from './host.ts';
export { hastenedClock } from './hastened-clock.ts';
export type { HastenedClock } from './hastened-clock.ts';
