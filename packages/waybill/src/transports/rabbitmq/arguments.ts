import type { Names } from './names.ts';

export type QueueType = 'quorum' | 'classic';

/**
 * RabbitMQ's own limit on deliveries (20 by default from 4.0 on) would drop messages whose handler never finished: what
 * was merely prefetched when a process crashed counts too. Waybill counts attempts itself. With a limit, however large,
 * a quorum queue of 3.x keeps the place of what comes back; without one it goes to the end.
 */
const deliveryLimit = 1_000_000_000;

/** With which a subscription's queue, or one of its partitions, is made: whoever declares it with others is refused. */
export function argumentsOf(queue: string, { names, service, queueType }: { names: Pick<Names, 'dead'>; service: string; queueType: QueueType }): Record<string, string | number | boolean> {
  return {
    'x-queue-type': queueType,
    'x-dead-letter-exchange': names.dead(service),
    ...(queueType === 'quorum' && { 'x-delivery-limit': deliveryLimit }),
    ...(/~\d+$/.test(queue) && { 'x-single-active-consumer': true }),
  };
}
