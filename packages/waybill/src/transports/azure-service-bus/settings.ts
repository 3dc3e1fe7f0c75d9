/** With what each entity is made: the same for who makes it and for who tells of it beforehand. */
import type { Declaration } from '../../contract/transport.ts';
import type { AzureFilter } from './client.ts';
import type { Names } from './names.ts';

/** What a subscription of ours is received from. */
export interface Place {
  readonly kind: 'event' | 'command' | 'reply';
  readonly topic?: string;
  readonly name: string;
}

export function told({ topic, name }: Place): string {
  return topic === undefined ? `the queue ${name}` : `the subscription ${name} of the topic ${topic}`;
}

/** We count attempts ourselves; this is the back-stop for what kills every process before it is counted. Azure allows 2000. */
const maxDeliveryCount = 500;

/** Of a subscription or queue that messages are received from. */
export function entitySettings(requiresSession: boolean, lockMs: number): { requiresSession: boolean; lockDuration: string; maxDeliveryCount: number } {
  return { requiresSession, lockDuration: `PT${lockMs / 1_000}S`, maxDeliveryCount };
}

/** Where a subscription's messages come from. */
export function placesOf(names: Names, service: string, { name, bindings }: Declaration): Place[] {
  const places: Place[] = [];
  if (bindings.some(({ kind }) => kind === 'event')) places.push({ kind: 'event', topic: names.topic, name: names.subscription(name) });
  for (const { kind, type } of bindings) if (kind !== 'event') places.push({ kind, name: names.queue(kind, service, type) });
  return places;
}

/** By subject, which our own senders set; by the attribute, for other senders of CloudEvents. */
export function rulesFor(names: Names, type: string): { name: string; filter: AzureFilter }[] {
  return [
    { name: names.rule(type), filter: { subject: type } },
    { name: names.rule(type, '_ce'), filter: { applicationProperties: { cloudEvents_type: type } } },
    { name: names.rule(type, '_ce1'), filter: { applicationProperties: { 'cloudEvents:type': type } } },
  ];
}
