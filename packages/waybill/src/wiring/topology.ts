/**
 * What start would make at the broker: told without a broker, compared with one, or made beforehand by a deploy step with
 * more rights than the service has. Whatever part of it a crash leaves, the next `apply`, or the start, completes.
 */
import type { TopologyAtBroker } from '../contract/internals.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Host, StoreSession } from '../contract/store.ts';
import type { Declaration, Transport, TopologyPlan, TransportCapabilities } from '../contract/transport.ts';
import { historyDeclaration } from './history.ts';

export interface TopologyDeskOptions {
  readonly service: string;
  readonly host: Host;
  readonly transport: () => Promise<Transport>;
  /** The bus's store, opened if it is not. */
  readonly store: () => Promise<StoreSession>;
  /** It is the running bus's: not closed here. */
  readonly isOpen: (store: StoreSession) => boolean;
  /** This bus answers those who ask for what was sent. */
  readonly answersForHistory: boolean;
  readonly subscriptions: () => readonly { declaration(on: TransportCapabilities): Declaration }[];
}

/** As of a broker, which is not connected yet: a driver whose abilities are others leaves out of its plan what it does without. */
const broker: TransportCapabilities = { publishesAtCommit: false };

export function createTopologyDesk(options: TopologyDeskOptions): TopologyAtBroker {
  const { service, host } = options;

  const declarations = (on: TransportCapabilities, isAsked: boolean): Declaration[] => [
    ...options.subscriptions().map((subscription) => subscription.declaration(on)),
    ...(options.answersForHistory && isAsked ? [historyDeclaration(service)] : []),
  ];

  /** Under whose former name something stands still: its messages have to be moved, once nobody works there any more. */
  const renamed = async (plan: TopologyPlan, all: readonly Declaration[]): Promise<Set<string>> => {
    const names = new Set<string>();
    for (const declaration of all) {
      for (const former of declaration.formerly) {
        const old = plan.entities(service, [{ ...declaration, name: former, formerly: [] }]).filter(({ subscription, received }) => subscription === former && received);
        if ((await plan.look(old, host)).some(({ state }) => state !== 'missing')) names.add(declaration.name);
      }
    }
    return names;
  };

  return {
    async plan() {
      const { kind, topology } = await options.transport();
      return { transport: kind, entities: topology?.entities(service, declarations(broker, true)) ?? [] };
    },
    async look(entities) {
      const { topology } = await options.transport();
      return (await topology?.look(entities, host)) ?? [];
    },
    async apply() {
      const transport = await options.transport();
      if (!transport.topology) return { left: [] };
      const left = await renamed(transport.topology, declarations(broker, false));
      const store = transport.needsStore ? await options.store() : closedStore();
      try {
        const session = await transport.connect({ ...host, migrate: 'auto', store });
        try {
          const { capabilities, history } = session;
          for (const declaration of declarations(capabilities, !capabilities.publishesAtCommit && !history)) {
            if (!left.has(declaration.name)) await session.declare(declaration);
          }
        } finally {
          await session.close();
        }
      } finally {
        if (transport.needsStore && !options.isOpen(store)) await store.close();
      }
      return { left: [...left] };
    },
  };
}

/** A deploy step need not reach the service's database. */
function closedStore(): StoreSession {
  return new Proxy({} as StoreSession, {
    get() {
      throw new WaybillError('CAPABILITY_MISSING', 'this transport uses the store to declare, but does not say so (needsStore)');
    },
  });
}
