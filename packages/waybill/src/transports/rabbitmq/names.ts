import { createHash } from 'node:crypto';
import { heartbeatType } from '../../contract/control.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { Declaration } from '../../contract/transport.ts';

/**
 * What things are called at the broker. With the system's name `waybill`:
 *
 *     waybill                            the exchange (topic): everything goes through it
 *     waybill.basket.prices              the queue of subscription basket.prices
 *     waybill.basket.prices~3            the fourth partition, with order by-key; `~members`: see there
 *     waybill.basket~dead                what service basket could not read (queue), what the broker dropped (exchange)
 *     waybill.basket~i.<id>              one instance: replies to it, and what its siblings tell it
 *
 * Routing keys, where slot is a number made of the message's key:
 *
 *     event.<slot>.<type>      command.<slot>.<service>.<type>      reply.<address>
 *     queue.<queue>, beat.<queue>  to that queue alone      dead.<service>      sibling.<service>      heartbeat.<source>
 *
 * `~` stands in no name that users give. All fit AMQP's 255 bytes.
 */

/** Part of the wire format: publishers compute the slot, so this can never change. */
export const slots = 16;
/** Queues of a by-key subscription: at most so many instances work on it at once. Divides the slots. */
export const partitions = 8;
/** An instance is active on some of them: what it has in hand at most is shared among as many. */
export const partitionsAtOnce = 4;

/** Two of them and the words around fit. A service's name and a contract's are shorter anyway. */
const partMax = 180;

export interface Names {
  readonly exchange: string;
  queue(name: string): string;
  partitionsOf(name: string): string[];
  /** The queues that a declaration stands for. */
  queuesOf(declaration: Pick<Declaration, 'name' | 'order'>): string[];
  dead(service: string): string;
  instance(service: string, id: string): string;
  /** Where every instance at the partitions of a subscription stands as a consumer, to be counted. */
  members(name: string): string;
  /** Held by whoever moves what is queued under a former name. */
  lock(name: string): string;
}

export function createNames(system: string): Names {
  const queue = (name: string): string => `${part(system)}.${part(name)}`;
  const partitionsOf = (name: string): string[] => Array.from({ length: partitions }, (_, index) => `${queue(name)}~${index}`);
  return {
    exchange: part(system),
    queue,
    partitionsOf,
    queuesOf: ({ name, order }) => (order === 'by-key' ? partitionsOf(name) : [queue(name)]),
    dead: (service) => `${queue(service)}~dead`,
    instance: (service, id) => `${queue(service)}~i.${id}`,
    members: (name) => `${queue(name)}~members`,
    lock: (name) => `${queue(name)}~moving`,
  };
}

export const route = {
  of({ kind, type, source, recipient, key, id }: WireMessage): string {
    if (type === heartbeatType) return `heartbeat.${part(source)}`;
    if (kind === 'reply') return route.toReply(recipient ?? '');
    const slot = slotOf(key ?? id);
    return kind === 'event' ? `event.${slot}.${part(type)}` : `command.${slot}.${part(recipient ?? '')}.${part(type)}`;
  },
  toQueue: (queue: string): string => `queue.${queue}`,
  toDead: (service: string): string => `dead.${part(service)}`,
  toSiblings: (service: string): string => `sibling.${part(service)}`,
  heartbeats: 'heartbeat.#',
  /** A heartbeat's way into a queue: another one than messages', as the broker shall drop it without a trace. */
  beatTo: (queue: string): string => `beat.${queue}`,
  toReply: (address: string): string => `reply.${part(address)}`,
  /** The slot in a routing key of an event or a command. */
  slot: (key: string): number => Number(key.split('.', 2)[1]) % slots || 0,
  /**
   * What a queue of a declaration is bound to; `index` is its partition, undefined where there is one queue. Not to
   * heartbeats: where nobody reads they would heap up. Who reads puts them there, see `beats.ts`.
   */
  patterns({ bindings }: Pick<Declaration, 'bindings'>, service: string, index: number | undefined): string[] {
    const mine = index === undefined ? ['*'] : slotsOf(index);
    return bindings.filter(({ type }) => type !== heartbeatType).flatMap(({ kind, type }) =>
      mine.map((slot) => (kind === 'event' ? `event.${slot}.${part(type)}` : `${kind}.${slot}.${part(service)}.${part(type)}`)),
    );
  },
};

function slotsOf(partition: number): string[] {
  return Array.from({ length: slots }, (_, slot) => slot).filter((slot) => slot % partitions === partition).map(String);
}

/** Where messages of a key go. FNV-1a over UTF-16 with a final mix: short keys that differ in one digit spread. */
export function slotOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  return (hash >>> 0) % slots;
}

/** Only characters that mean nothing to a topic exchange or a permission's pattern, and a length that leaves room. */
function part(name: string): string {
  const kept = plain.test(name) ? name : name.replace(unsafe, percent);
  return kept.length <= partMax ? kept : `${kept.slice(0, partMax - 17)}~${createHash('sha256').update(kept).digest('hex').slice(0, 16)}`;
}

const plain = /^[a-z0-9.\-_]*$/i;
const unsafe = /[^a-z0-9.\-_]/gi;

function percent(character: string): string {
  return [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
}
