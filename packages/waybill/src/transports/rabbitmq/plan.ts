/**
 * What `declare` makes for a service, told beforehand, and what of it is there. AMQP 0-9-1 answers whether a queue or an
 * exchange is there, and refuses one that is asserted with other arguments; for bindings it has no question.
 */
import type { Clock } from '../../contract/clock.ts';
import type { Entity, Seen } from '../../contract/topology.ts';
import type { Declaration, TopologyPlan } from '../../contract/transport.ts';
import { type AmqpChannel, codeOf, type Dial, goodbye, replyCode, unreachable } from './client.ts';
import { Link } from './link.ts';
import { createNames, type Names, route } from './names.ts';
import { argumentsOf, type QueueType } from './arguments.ts';

export interface PlanOptions {
  readonly dial: Dial;
  readonly system: string;
  readonly queueType: QueueType;
}

export function topologyAt({ dial, system, queueType }: PlanOptions): TopologyPlan {
  const names = createNames(system);
  return {
    entities: (service, declarations) => [
      exchange(names.exchange),
      ...deadLetters(names, service, queueType, declarations),
      ...declarations.flatMap((declaration) => subscription(names, service, queueType, declaration)),
    ],
    async look(entities, { clock }) {
      const link = new Link(dial, clock);
      try {
        const seen: Seen[] = [];
        for (const entity of entities) seen.push(await lookAt(link, clock, entity));
        return seen;
      } finally {
        await link.close();
      }
    },
  };
}

const ofService = { subscription: undefined, received: false } as const;

function exchange(name: string): Entity {
  return { kind: 'exchange', name, ...ofService, settings: { type: 'topic', durable: true } };
}

function bindings(from: string, to: string, keys: readonly string[], of: string | undefined): Entity {
  return { kind: 'bindings', name: `${from} to ${to}`, subscription: of, received: false, settings: { keys: [...new Set(keys)].toSorted().join(' ') } };
}

function deadLetters(names: Names, service: string, queueType: QueueType, declarations: readonly Declaration[]): Entity[] {
  if (declarations.length === 0) return [];
  const dead = names.dead(service);
  const dropped = declarations.flatMap((declaration) => route.patterns(declaration, service, undefined));
  return [
    exchange(dead),
    { kind: 'queue', name: dead, ...ofService, settings: { durable: true, 'x-queue-type': queueType } },
    bindings(names.exchange, dead, [route.toDead(service)], undefined),
    bindings(dead, dead, [route.toQueue('#'), ...dropped], undefined),
  ];
}

function subscription(names: Names, service: string, queueType: QueueType, declaration: Declaration): Entity[] {
  const { name: of, order } = declaration;
  const queues = names.queuesOf(declaration);
  const entities = queues.flatMap((name, index): Entity[] => [
    { kind: 'queue', name, subscription: of, received: true, settings: { durable: true, ...argumentsOf(name, { names, service, queueType }) } },
    bindings(names.exchange, name, [route.toQueue(name), route.beatTo(name), ...route.patterns(declaration, service, queues.length === 1 ? undefined : index)], of),
  ]);
  if (order !== 'by-key') return entities;
  return [...entities, { kind: 'queue', name: names.members(of), subscription: of, received: false, settings: { durable: true, 'x-queue-type': 'classic' } }];
}

// --- looking ------------------------------------------------------------------------------------------------------------

async function lookAt(link: Link, clock: Clock, entity: Entity): Promise<Seen> {
  const { kind, name, settings } = entity;
  if (kind === 'bindings') return { state: 'unseen', detail: 'AMQP 0-9-1 does not tell of bindings; apply makes them again, and each start does' };
  const { durable, type, ...rest } = settings;
  const isExchange = kind === 'exchange';
  // First whether it is there: to assert it alone would create it.
  const there = await asked(link, clock, (channel) => (isExchange ? channel.checkExchange(name) : channel.checkQueue(name)));
  if (there.code === replyCode.notFound) return { state: 'missing' };
  if (there.code !== undefined) return { state: 'unseen', detail: `the broker does not let it be looked at (${there.text})` };
  const like = await asked(link, clock, (channel) => (isExchange ? channel.assertExchange(name, String(type), { durable }) : channel.assertQueue(name, { durable, arguments: rest })));
  if (like.code === replyCode.preconditionFailed) return { state: 'different', detail: like.text };
  // It is there, and who may not configure it may use it.
  return { state: 'there' };
}

/** One question on a channel of its own, which an error closes. */
async function asked(link: Link, clock: Clock, question: (channel: AmqpChannel) => Promise<unknown>): Promise<{ readonly code: number | undefined; readonly text: string }> {
  const channel = await link.channel();
  try {
    await question(channel);
    return { code: undefined, text: '' };
  } catch (error) {
    const code = codeOf(error);
    if (code !== replyCode.notFound && code !== replyCode.preconditionFailed && code !== replyCode.accessRefused && code !== replyCode.locked) throw unreachable('looking at what is there', error);
    return { code, text: (error as Error).message };
  } finally {
    await goodbye(channel, clock);
  }
}
