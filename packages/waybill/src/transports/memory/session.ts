import { WaybillError } from '../../contract/errors.ts';
import type { WireMessage } from '../../contract/message.ts';
import type {
  Consumer,
  Declaration,
  Delivery,
  ReplyInbox,
  SendOutcome,
  TransportHost,
  TransportSession,
} from '../../contract/transport.ts';
import type { Broker } from './broker.ts';
import { carried, QueueConsumer } from './consumer.ts';

/** One bus at the broker: remembers what it opened there, so that closing it gives all of it back. */
export function connect(broker: Broker, host: TransportHost): TransportSession {
  const { service, clock, signals } = host;
  const consumers = new Set<Consumer>();
  const inboxes = new Set<ReplyInbox>();
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {}); // nobody has to wait for it
  let closed = false;

  const check = (): void => {
    if (closed) throw stopped();
    broker.reach();
  };

  return {
    capabilities: { publishesAtCommit: false },

    isTaken: (type: string) => broker.isTaken(type),

    async declare(declaration: Declaration): Promise<void> {
      check();
      broker.declare(service, declaration);
    },

    async send(messages: readonly WireMessage[]): Promise<readonly SendOutcome[]> {
      check();
      return broker.send(messages);
    },

    async consume(declaration: Declaration): Promise<Consumer> {
      check();
      const consumer = new QueueConsumer(broker.queueFor(service, declaration), { clock, faults: broker.faults });
      consumers.add(consumer);
      return consumer;
    },

    async listen(deliver: (delivery: Delivery) => void): Promise<ReplyInbox> {
      check();
      const address = `${service}/${clock.id()}`;
      const stop = broker.listen(address, (message) => {
        const delivery: Delivery = { ...carried(message), redelivered: false, suspect: false };
        queueMicrotask(() => {
          try {
            deliver(delivery);
          } catch (error) {
            signals.emit('trouble', { where: 'a reply', error });
          }
        });
      });
      const inbox: ReplyInbox = {
        address,
        async close() {
          stop();
          inboxes.delete(inbox);
        },
      };
      inboxes.add(inbox);
      return inbox;
    },

    async remove(name: string, queued: 'apply' | 'drop'): Promise<void> {
      check();
      await Promise.race([broker.remove(name, queued), ended.promise]);
    },

    async close(): Promise<void> {
      closed = true;
      ended.reject(stopped());
      await Promise.all([...consumers, ...inboxes].map((opened) => opened.close()));
      consumers.clear();
    },
  };
}

function stopped(): WaybillError {
  return new WaybillError('STOPPED', 'memory transport: this session was closed');
}
