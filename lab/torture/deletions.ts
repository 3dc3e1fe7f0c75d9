/** Somebody deletes at the broker what belongs to a subscription, with all that is in it, or the exchange of all. */
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import type { Ground } from './ground.ts';
import { type Fault, warmUpMs } from './server-faults.ts';

/** What is deleted belongs to all subscriptions. */
export const everybody = '*';
const exchange = 'waybill';

/** @param said whose it was, and its name */
export function deletions({ rabbit, azure }: Pick<Ground, 'rabbit' | 'azure'>, random: () => number, said: (subscription: string, name: string) => void): Record<string, Fault> {
  if (azure) {
    const strike = async (): Promise<void> => {
      const name = await azure.server.deleteOne(random());
      said(subscriptionAt(name), name);
    };
    return { 'broker: subscription or queue deleted': { weight: 1, place: 'broker', strike } };
  }
  if (!rabbit) return {};
  const deleting = (weight: number, which: (names: readonly string[]) => Promise<string> | string): Fault => ({
    weight,
    place: 'broker',
    async strike() {
      const listed = (await rabbit.server.ctl('list_queues', 'name')).split(/\s+/).filter((name) => name.startsWith(`${exchange}.`) && !/~(i\.|moving)/.test(name)); // an instance's own nobody else may delete
      const name = await which(listed.sort());
      const connection = await amqplib.connect(rabbit.server.url);
      connection.on('error', () => {});
      try {
        const channel = await connection.createChannel();
        channel.on('error', () => {});
        said(name === exchange ? everybody : subscriptionAt(name), name); // before: it may be lost although there is no answer
        await (name === exchange ? channel.deleteExchange(exchange) : channel.deleteQueue(name));
      } finally {
        await connection.close().catch(() => {});
      }
      await sleep(warmUpMs); // what is made anew must grow old
    },
  });
  return {
    'broker: queue deleted': deleting(1, (names) => names[Math.floor(random() * names.length)] ?? exchange),
    'broker: exchange deleted': deleting(0.5, () => exchange),
  };
}

/** `waybill.shop.ordered~3` is of shop.ordered, `waybill/commands/works/works.reserve.v1` of works.works.reserve. */
function subscriptionAt(name: string): string {
  const [, kind, service, type] = name.split('/');
  if (kind !== undefined) return `${service}.${type}`.replace(/\.v\d+$/, '');
  return name.replace(/^waybill\./, '').replace(/~.*$/, '');
}
