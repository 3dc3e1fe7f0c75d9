/** The transport conformance suite over Azure Service Bus: a stand-in, or the namespace that a test was given. */
import { ServiceBusAdministrationClient, ServiceBusClient } from '@azure/service-bus';
import { systemClock } from '../../src/contract/clock.ts';
import { memory } from '../../src/stores/memory/index.ts';
import type { Peer, TransportDriver, TransportWorld } from '../../src/testing/conformance/transport/world.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { azureServiceBus } from '../../src/transports/azure-service-bus/index.ts';
import { sdkAdministration, sdkClient } from './sdk.ts';
import { startStandIn, type StandIn } from './stand-in/index.ts';

const lacks = {
  history: 'a topic keeps nothing of what was sent before a subscription was there',
  commit: 'messages are handed to a broker by the relay',
};

/** The Premium tier takes the largest message that Waybill allows; Standard takes 256 KiB. */
const messageBytesMax = 1_200_000;

export function overStandIn(patienceMs = 8_000, quietMs = 500): TransportDriver {
  return {
    name: 'azure-service-bus, over the stand-in',
    lacks,
    async open() {
      const standIn = await startStandIn({ messageBytesMax });
      const world = worldOn({
        client: () => sdkClient(standIn, 3_000),
        administration: () => sdkAdministration(standIn),
        patienceMs,
        quietMs,
        prefix: 'waybill',
        end: () => standIn.close(),
      });
      return { ...world, ...faultsOf(standIn, world) };
    },
  };
}

function faultsOf(standIn: StandIn, world: TransportWorld & { readonly clients: Map<Peer, ServiceBusClient> }): Partial<TransportWorld> {
  return {
    away: () => standIn.leave(),
    back: () => standIn.comeBack(),
    refused: (message) => ({ ...message, body: new Uint8Array(messageBytesMax + 1) }),
    async kill(peer) {
      // The first instance of its service, as a sabotaged peer is another object. Its consumers are not asked to give anything back.
      await [...world.clients].find(([{ service }]) => service === peer.service)![1].close();
      standIn.expireLocks();
    },
  };
}

let systems = 0;

/** Each world is a system of its own in the namespace, which is removed afterwards. */
export function overNamespace(connectionString: string): TransportDriver {
  return {
    name: 'azure-service-bus, over the given namespace',
    lacks: {
      ...lacks,
      away: 'a namespace cannot be put out of reach',
      kill: 'locks cannot be made to run out',
    },
    async open() {
      const administration = new ServiceBusAdministrationClient(connectionString);
      const prefix = `waybill-test-${process.pid}-${Date.now()}-${++systems}`;
      return {
        ...worldOn({
          client: () => new ServiceBusClient(connectionString),
          administration: () => administration,
          patienceMs: 30_000,
          quietMs: 2_000,
          prefix,
          async end() {
            await administration.deleteTopic(`${prefix}/events`).catch(() => {});
            for await (const { name } of administration.listQueues()) if (name.startsWith(`${prefix}/`)) await administration.deleteQueue(name);
          },
        }),
        refused: (message) => ({ ...message, body: new Uint8Array(120 * 1024 * 1024) }),
      };
    },
  };
}

interface Ground {
  readonly client: () => ServiceBusClient;
  readonly administration: () => ServiceBusAdministrationClient;
  readonly patienceMs: number;
  readonly quietMs: number;
  readonly prefix: string;
  readonly end: () => Promise<void>;
}

function worldOn({ client, administration, patienceMs, quietMs, prefix, end }: Ground): TransportWorld & { readonly clients: Map<Peer, ServiceBusClient> } {
  const clock = systemClock();
  const stores = new Map<string, ReturnType<typeof memory>>();
  const clients = new Map<Peer, ServiceBusClient>();
  const idle = client();
  return {
    clock,
    patienceMs,
    quietMs,
    clients,
    async start(service) {
      if (!stores.has(service)) stores.set(service, memory());
      const host = recordingHost(service, clock);
      const store = await stores.get(service)!.open(host);
      const connected = client();
      const session = await azureServiceBus(connected, { administration: administration(), prefix }).connect({ ...host, store });
      const peer: Peer = {
        service,
        store,
        session,
        async stop() {
          clients.delete(peer);
          await session.close();
          await connected.close();
          await store.close();
        },
      };
      clients.set(peer, connected);
      return peer;
    },
    topology: {
      entities: (service, declarations) => azureServiceBus(idle, { prefix }).topology!.entities(service, declarations),
      look: (service, entities) => azureServiceBus(idle, { administration: administration(), prefix }).topology!.look(entities, recordingHost(service, clock)),
      standing: () => standing(administration(), prefix),
    },
    async close() {
      for (const peer of clients.keys()) await peer.stop();
      await idle.close();
      await end();
    },
  };
}

async function standing(administration: ServiceBusAdministrationClient, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name: topic } of administration.listTopics()) {
    if (!topic.startsWith(`${prefix}/`)) continue;
    found.push(`topic ${topic}`);
    for await (const { subscriptionName } of administration.listSubscriptions(topic)) {
      found.push(`subscription ${topic}/${subscriptionName}`);
      for await (const { name } of administration.listRules(topic, subscriptionName)) found.push(`rule ${topic}/${subscriptionName}/${name}`);
    }
  }
  for await (const { name } of administration.listQueues()) if (name.startsWith(`${prefix}/`)) found.push(`queue ${name}`);
  return found;
}
