import type { OutboxLease, StorePorts, StoreSession, StoreTransaction } from '../../../contract/store.ts';
import { instead, type Sabotage } from '../sabotage.ts';
import type { StoreAbility, StoreWorld } from './world.ts';

export type StoreSabotage = Sabotage<StoreWorld, StoreAbility>;

type BrokenPorts = {
  readonly [Port in keyof StorePorts]?: (honest: NonNullable<StorePorts[Port]>, session: StoreSession) => Partial<NonNullable<StorePorts[Port]>>;
};

/** What a broken driver does otherwise. Made anew for each world, so that it may remember things. */
export interface Breakage extends BrokenPorts {
  world?(honest: StoreWorld): Partial<StoreWorld>;
  session?(honest: StoreSession): Partial<StoreSession>;
  tx?(honest: StoreTransaction): Partial<StoreTransaction>;
  lease?(honest: OutboxLease): Partial<OutboxLease>;
}

/** A sabotage: `name` completes "a driver that …", `breaks` names the case that must notice. */
export function broken(name: string, breaks: string, make: () => Breakage): StoreSabotage {
  return {
    name,
    breaks,
    wrap: (driver) => ({
      ...driver,
      name: `${driver.name}, sabotaged`,
      async open() {
        const world = await driver.open();
        const breakage = make();
        const members = breakage.world?.(world) ?? {};
        const open = members.open ?? ((as) => world.open(as));
        return instead(world, { ...members, open: async (as) => brokenSession(await open(as), breakage) });
      },
    }),
  };
}

function brokenSession(honest: StoreSession, breakage: Breakage): StoreSession {
  const members = breakage.session?.(honest) ?? {};
  const transaction: StoreSession['transaction'] = members.transaction ?? ((work, options) => honest.transaction(work, options));
  return instead(honest, {
    ...members,
    ports: brokenPorts(honest, breakage),
    transaction: (work, options) => transaction((tx) => work(breakage.tx ? instead(tx, breakage.tx(tx)) : tx), options),
  });
}

function brokenPorts(session: StoreSession, breakage: Breakage): StorePorts {
  const { outbox, inbox, waiting, failures, once, sagas, inspect, streams } = session.ports;
  const brokenOutbox = instead(outbox, breakage.outbox?.(outbox, session) ?? {});
  return {
    outbox: instead(brokenOutbox, {
      async acquire(owner, leaseMs) {
        const lease = await brokenOutbox.acquire(owner, leaseMs);
        return lease && instead(lease, breakage.lease?.(lease) ?? {});
      },
    }),
    inbox: instead(inbox, breakage.inbox?.(inbox, session) ?? {}),
    waiting: instead(waiting, breakage.waiting?.(waiting, session) ?? {}),
    failures: instead(failures, breakage.failures?.(failures, session) ?? {}),
    once: instead(once, breakage.once?.(once, session) ?? {}),
    ...(sagas && { sagas: instead(sagas, breakage.sagas?.(sagas, session) ?? {}) }),
    inspect: instead(inspect, breakage.inspect?.(inspect, session) ?? {}),
    ...(streams && { streams: instead(streams, breakage.streams?.(streams, session) ?? {}) }),
  };
}
