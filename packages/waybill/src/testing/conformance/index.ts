/**
 * The conformance suites, for authors of drivers: cases as data, runnable under any test runner. A driver's test makes
 * a `TransportDriver` or `StoreDriver`, whose `open` gives a fresh world to each case, and is then three lines:
 *
 *     for (const subject of transportCases) {
 *       it(subject.name, async (t) => {
 *         const skipped = await runCase(subject, driver); // only what `driver.lacks` declares, with its reason
 *         if (skipped !== undefined) t.skip(skipped);
 *       });
 *     }
 */
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
