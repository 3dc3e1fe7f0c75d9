/**
 * The reliability lab's simulation: the real bus over simulated clock, chance, database and broker, and the checker of its
 * histories.
 */
export { simulate } from './simulation.ts';
export type { Outcome, Scenario } from './simulation.ts';
export { shrink } from './shrink.ts';
export { everyFault, faultKinds } from './faults.ts';
export type { Fault, FaultKind } from './faults.ts';
export type { Knobs } from './workload.ts';
export { check, invariants, tell } from './checker.ts';
export type { Applied, Dead, Operation, Run, Sent, Story, Subscribed, Violation } from './story.ts';
