import type { StoreSession } from '../../../contract/store.ts';
import type { Consumer, Declaration, Delivery, TransportSession } from '../../../contract/transport.ts';
import { instead, type Sabotage } from '../sabotage.ts';
import type { Peer, TransportAbility, TransportWorld, WorldTopology } from './world.ts';

export type TransportSabotage = Sabotage<TransportWorld, TransportAbility>;

/** What a broken driver does otherwise. Made anew for each world, so that it may remember things. */
export interface Breakage {
  session?(honest: TransportSession, peer: Peer): Partial<TransportSession>;
  consumer?(honest: Consumer, declaration: Declaration, session: TransportSession): Partial<Consumer>;
  /** Each delivery on its way to the consumer; undefined swallows it. */
  delivery?(honest: Delivery, peer: Peer): Delivery | undefined;
  topology?(honest: WorldTopology, world: TransportWorld): Partial<WorldTopology>;
  store?(honest: StoreSession): Partial<StoreSession>;
}

/** A sabotage: `name` completes "a driver that …", `breaks` names the case that must notice. */
export function broken(name: string, breaks: string, make: () => Breakage): TransportSabotage {
  return {
    name,
    breaks,
    wrap: (driver) => ({
      ...driver,
      name: `${driver.name}, sabotaged`,
      async open() {
        const world = await driver.open();
        const breakage = make();
        const { topology } = world;
        return instead(world, {
          start: async (service) => brokenPeer(await world.start(service), breakage),
          ...(topology && { topology: { ...topology, ...breakage.topology?.(topology, world) } }),
        });
      },
    }),
  };
}

function brokenPeer(peer: Peer, breakage: Breakage): Peer {
  const members = breakage.session?.(peer.session, peer) ?? {};
  const consume = members.consume ?? ((declaration) => peer.session.consume(declaration));
  const session = instead(peer.session, {
    ...members,
    consume: async (declaration) => brokenConsumer(await consume(declaration), declaration, peer, breakage),
  });
  return {
    service: peer.service,
    store: instead(peer.store, breakage.store?.(peer.store) ?? {}),
    session,
    async stop() {
      await session.close();
      await peer.stop();
    },
  };
}

/** Deliveries may be changed on their way out; on their way back they are the honest driver's own again. */
function brokenConsumer(consumer: Consumer, declaration: Declaration, peer: Peer, { delivery, ...breakage }: Breakage): Consumer {
  const own = new Map<Delivery, Delivery>();
  const back = (deliveries: readonly Delivery[]): Delivery[] => deliveries.map((given) => own.get(given) ?? given);
  const disguised: Consumer =
    delivery === undefined
      ? consumer
      : instead(consumer, {
          async receive(max, options) {
            const got = await consumer.receive(max, options);
            return got.flatMap((each) => {
              const given = delivery(each, peer);
              if (given !== undefined) own.set(given, each);
              return given ?? [];
            });
          },
          settleIn: (tx, deliveries) => consumer.settleIn(tx, back(deliveries)),
          settle: (deliveries) => consumer.settle(back(deliveries)),
          release: (deliveries) => consumer.release(back(deliveries)),
        });
  return instead(disguised, breakage.consumer?.(disguised, declaration, peer.session) ?? {});
}
