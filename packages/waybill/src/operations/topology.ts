/** What a bus takes, and what stands for it at the broker: as declared, and on demand as it is there. */
import type { BusInternals } from '../contract/internals.ts';
import type { Entity, Seen } from '../contract/topology.ts';
import { typesOf } from '../contract/versions.ts';
import { checkWords } from '../contract/words.ts';

export interface Topology {
  readonly service: string;
  /** The transport: `rabbitmq`, `azure-service-bus`, `sqlite`, `memory`. */
  readonly transport: string;
  readonly takes: readonly {
    readonly subscription: string;
    readonly kind: 'event' | 'command';
    /** On the wire, older versions too. */
    readonly types: readonly string[];
    /** Who has sent it something. */
    readonly sources: readonly string[];
    /** What it is received from at the broker: queues and subscriptions by their names there. */
    readonly places: readonly string[];
  }[];
  /** What stands there for this service, in the order in which it is made; empty where nothing stands outside this process. */
  readonly entities: readonly TopologyEntity[];
}

export interface TopologyEntity {
  /** In the broker's own word: `topic`, `subscription`, `rule`, `queue`, `exchange`, `bindings`. */
  readonly kind: string;
  readonly name: string;
  /** The subscription that it is for; undefined: the service as a whole. */
  readonly subscription: string | undefined;
  /** With which it is created. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Where it was compared. `unseen`: it cannot be asked about, by this protocol or with these rights. */
  readonly state?: Seen['state'];
  /** What differs, or why it is unseen. */
  readonly detail?: string;
}

export async function topologyOf({ service, topology, subscriptions }: BusInternals, how: { readonly compare?: boolean } = {}): Promise<Topology> {
  checkWords('topology', how, ['compare']);
  const { transport, entities } = await topology.plan();
  const seen = how.compare ? await topology.look(entities) : [];
  const takes = subscriptions().map(({ plan, sources }) => ({
    subscription: plan.name,
    kind: plan.kind,
    types: typesOf(plan),
    sources: sources.map(({ source }) => source),
    places: entities.filter(({ subscription, received }) => received && subscription === plan.name).map(({ kind, name }) => `the ${kind} ${name}`),
  }));
  return { service, transport, takes, entities: entities.map((entity, at) => told(entity, seen[at])) };
}

function told({ kind, name, subscription, settings }: Entity, seen: Seen | undefined): TopologyEntity {
  return { kind, name, subscription, settings, ...seen };
}
