/** Where this instance hears replies: an address that is listened to from the first request on. */
import { WaybillError } from '../contract/errors.ts';
import type { Delivery } from '../contract/transport.ts';
import { cloudEvents } from '../formats/cloudevents.ts';
import type { Requests } from '../publish/requests.ts';
import type { Link } from './link.ts';

export interface ReplyAddress {
  /** Waits for the broker. @throws WaybillError `STOPPED` */
  get(): Promise<string>;
  close(): Promise<void>;
}

export function createReplyAddress({ link, requests, trouble }: { link: Link; requests: Requests; trouble: (where: string, error: unknown) => void }): ReplyAddress {
  let listening: Promise<{ address: string; close(): Promise<void> }> | undefined;

  const take = (delivery: Delivery): void => {
    try {
      const { envelope, json } = cloudEvents.decode(delivery.headers, delivery.body);
      requests.take(envelope, json);
    } catch (error) {
      trouble('reading a reply', error);
    }
  };

  return {
    async get() {
      const session = await link.connected();
      if (!session) throw new WaybillError('STOPPED', 'the bus was stopped');
      listening ??= session.listen(take).catch((error: unknown) => {
        listening = undefined; // the next request tries again
        throw error;
      });
      return (await listening).address;
    },
    close: async () => (await listening?.catch(() => undefined))?.close(),
  };
}
