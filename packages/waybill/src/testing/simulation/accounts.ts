/** The event store of the simulated shop: streams that clients append to, and a projection that has an effect for each event. */
import type { Bus } from '../../contract/api.ts';
import { type EventStore, eventStore } from '../../streams/index.ts';
import { Counted, type Step, Stepped } from './contracts.ts';
import type { SimulatedTransaction } from './unit.ts';
import type { Instance } from './simulation.ts';
import type { HandlerHost } from './workload.ts';

export type Accounts = EventStore<SimulatedTransaction, readonly [typeof Counted]>;

/** By the checker's words a subscription of the streams' events, in order by stream. */
export const totals = 'shop.totals';

export function projectAccounts(bus: Bus<SimulatedTransaction>, { process, random, knobs }: HandlerHost): Accounts {
  const accounts = eventStore(bus as unknown as Bus, { events: [Counted] }) as unknown as Accounts;
  accounts.project('totals', { events: [Counted], batch: knobs.batch }, async (events, { tx }) => {
    for (const { id, type, stream, version } of events) {
      await tx.effect({ subscription: totals, id, source: 'shop', type, key: stream, n: version, caused: undefined });
      if (process.dead) await new Promise(() => {});
      if (random.is(knobs.throws)) throw new Error('bad luck');
    }
  });
  return accounts;
}

/**
 * One event more in a stream, and an integration event that tells of it. Half of the streams are decided on under the
 * lock of their key, so that nobody else appends meanwhile; the others find out that they came too late.
 */
export async function count({ bus, accounts }: Instance, tx: SimulatedTransaction, step: Step): Promise<void> {
  const stream = accountOf(step.key);
  if (isLocked(step.key)) await bus.lockKey(Stepped, { ...step, key: stream }, { tx: tx as never });
  // The same number from a row of its own, which is read without a lock: only the lock of the key keeps it right.
  const before = isLocked(step.key) ? await tx.look(stream) : await versionOf(accounts!, stream, tx);
  const n = before + 1;
  const { published } = await accounts!.append(stream, [Counted.of({ ...step, n }, { id: `${step.op}-event` })], {
    expectedVersion: isLocked(step.key) ? 'any' : before,
    tx: tx as never,
    publish: () => [Stepped.of({ ...step, key: stream, n })],
  });
  await tx.put(stream, n);
  await tx.order({ operation: step.op, ids: [`${step.op}-event`, published[0]!.id] });
}

/** The stream of a key, and the key of the events that tell of it. */
export function accountOf(key: string): string {
  return `account-${key}`;
}

function isLocked(key: string): boolean {
  return key !== 'a';
}

async function versionOf(accounts: Accounts, stream: string, tx: SimulatedTransaction): Promise<number> {
  let last = 0;
  for await (const { version } of accounts.read(stream, { tx: tx as never })) last = version;
  return last;
}
