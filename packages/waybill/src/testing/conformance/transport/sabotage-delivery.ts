/** For every case of delivery and order a driver that breaks its promise. */
import type { Consumer, Declaration, Delivery, TransportSession } from '../../../contract/transport.ts';
import { broken, type Breakage, type TransportSabotage } from './broken.ts';
import { message } from './world.ts';

const never: Promise<never> = new Promise(() => {});

export const deliverySabotages: readonly TransportSabotage[] = [
  broken('gives each consumer a queue of its own', 'competing consumers: each message reaches one of them', () => {
    let consumers = 0;
    return {
      session: (honest) => ({
        async declare(declaration) {
          for (const nr of [0, 1]) await honest.declare({ ...declaration, name: `${declaration.name}#${nr}` });
        },
        consume: (declaration) => honest.consume({ ...declaration, name: `${declaration.name}#${consumers++}` }),
      }),
    };
  }),
  broken('serves the first consumer alone', 'a queue that is shared gives work to each of its consumers', onlyFirst),
  broken('hands out what another holds', 'what a consumer has received stays with it: no other gets it', () => ({
    consumer: (honest) => ({
      async receive(max, options) {
        const got = await honest.receive(max, options);
        await honest.release(got);
        return got;
      },
    }),
  })),
  broken('never says that it is active', 'a consumer that is alone may work', () => ({ consumer: () => ({ active: false }) })),
  broken('gives one more than was asked for', 'receive gives no more than was asked for, and the rest later', () => ({
    consumer: (honest) => ({ receive: (max, options) => honest.receive(max + 1, options) }),
  })),
  broken('loses a message in a thousand', 'a long queue comes whole and in order', () => {
    let nr = 0;
    return { delivery: (honest) => (++nr % 1_000 === 0 ? undefined : honest) };
  }),
  broken('looks no further than a thousand messages', 'what a subscription does not take keeps nothing from it', () => {
    let sent = 0;
    return {
      session: (honest) => ({
        send(messages) {
          sent += messages.length;
          return honest.send(messages);
        },
      }),
      delivery: (honest) => (sent > 1_000 ? undefined : honest),
    };
  }),
  broken('looks only once', 'receive waits for a message, and ends when it comes', looksOnce),
  broken('never tells that nothing came', 'receive ends empty when its time is up', looksOnce),
  broken('does not look at the signal', 'receive ends empty when its signal is aborted, before or during the wait', () => ({
    consumer: (honest) => ({
      receive: (max, options) => honest.receive(max, { ...options, signal: new AbortController().signal }),
    }),
  })),
  broken('forgets to acknowledge', 'a message that was settled never comes again', () => ({ consumer: () => ({ settle: () => {} }) })),
  broken('acknowledges on receipt', 'what was not settled comes again when the consumer closes', () => ({
    consumer: (honest) => ({
      async receive(max, options) {
        const got = await honest.receive(max, options);
        await honest.settle(got);
        return got;
      },
    }),
  })),
  broken('acknowledges everything on the way out', 'what was not settled comes to another instance when the session closes', () => {
    const open: (() => unknown)[] = [];
    return {
      consumer: (honest) => ({
        async receive(max, options) {
          const got = await honest.receive(max, options);
          open.push(() => honest.settle(got));
          return got;
        },
      }),
      session: (honest) => ({
        async close() {
          for (const settle of open.splice(0)) await settle();
          await honest.close();
        },
      }),
    };
  }),
  broken('keeps what it holds after it was closed', 'an instance that stood by takes over when the other closes', () => ({
    consumer: () => ({ close: async () => {} }),
  })),
  broken(
    'acknowledges everything up to the last one',
    'settling some leaves the others: a later one does not vouch for an earlier one',
    () => ({
      consumer: (honest) => {
        const received: Delivery[] = [];
        return {
          async receive(max, options) {
            const got = await honest.receive(max, options);
            received.push(...got);
            return got;
          },
          settle: (deliveries) => honest.settle(received.splice(0, received.indexOf(deliveries.at(-1)!) + 1)),
        };
      },
    }),
  ),
  broken('drops what is released', 'what was released comes again', () => ({
    consumer: (honest) => ({ release: (deliveries) => honest.settle(deliveries) }),
  })),
  broken('puts what goes back at the end', 'what goes back keeps its place before what was sent later', () => ({
    consumer: (honest, _declaration, session) => ({
      async release(deliveries) {
        await honest.settle(deliveries);
        await session.send(deliveries.map(({ headers, body }) => message('again', { headers, body })));
      },
    }),
  })),
  broken('never tells of a redelivery', 'a message that comes again says so, and one that comes first says that', () => ({
    delivery: (honest) => ({ ...honest, redelivered: false }),
  })),
  broken('calls every redelivery a redelivery, first ones too', 'a message that comes again says so, and one that comes first says that', () => ({
    delivery: (honest) => ({ ...honest, redelivered: true }),
  })),
  broken('suspects whatever comes again', 'a message that was given back is under no suspicion', () => ({
    delivery: (honest) => ({ ...honest, suspect: honest.redelivered }),
  })),
  broken('suspects nobody', 'what was in flight when a process died comes again, under suspicion', () => ({
    delivery: (honest) => ({ ...honest, suspect: false }),
  })),
  broken('does not pass the count on', 'how often the broker has handed a message out in vain is told', () => ({
    delivery: ({ deliveryCount: _, ...honest }) => honest,
  })),
  broken('calls every delivery the first', 'how often the broker has handed a message out in vain is told', () => ({
    delivery: (honest) => ({ ...honest, deliveryCount: 0 }),
  })),
  broken('makes a count of what it knows', 'no count is made up where the broker does not count', () => ({
    delivery: (honest) => ({ ...honest, deliveryCount: honest.redelivered ? 1 : 0 }),
  })),
  broken('has no fence', 'a consumer that was closed lets nothing commit', () => ({ consumer: () => ({ settleIn: () => {} }) })),
  broken('acknowledges inside the transaction', 'a transaction that is undone settles nothing', () => ({
    consumer: (honest) => ({ settleIn: (_tx, deliveries) => honest.settle(deliveries) }),
  })),
  broken(
    'leaves a receive hanging that it does not answer',
    'closing a consumer ends a receive that waits, and it receives nothing any more',
    () => ({
      consumer: (honest) => ({
        async receive(max, options) {
          const got = await honest.receive(max, options);
          return got.length > 0 ? got : never;
        },
      }),
    }),
  ),
  broken('leaves consumers open when the session closes', 'closing the session ends a receive that waits', () => ({
    session: () => ({ close: async () => {} }),
  })),
  broken('throws when it is closed twice', 'closing twice is harmless', () => ({
    consumer: (honest) => {
      let closed = false;
      return {
        async close() {
          if (closed) throw new Error('closed already');
          closed = true;
          await honest.close();
        },
      };
    },
  })),
  broken('counts as applied what was only received', 'progress names each source, and passes a message only when it is settled', () => ({
    consumer: () => ({ progress: () => [{ source: 'catalog', appliedUntilMs: Number.MAX_SAFE_INTEGER, waiting: 0 }] }),
  })),

  broken('hands out the newest first', 'messages of a key come in the order they were sent, one batch after another', () => ({
    consumer: (honest) => ({ receive: async (max, options) => (await honest.receive(max, options)).toReversed() }),
  })),
  broken('knows no keys', 'a key that is unsettled at one consumer is not given to another', () => ({
    session: (honest) => declaring(honest, (of) => ({ ...of, order: 'any' })),
  })),
  broken(
    'lets one consumer hold up all keys',
    'while a key is unsettled at one consumer, another gets the other keys and what has none',
    onlyFirst,
  ),
  broken('brings what was unsettled last', 'a consumer that takes over gets what was unsettled first, in order', () => ({
    consumer: (honest) => ({
      async receive(max, options) {
        return (await honest.receive(max, options)).toSorted((a, b) => Number(a.redelivered) - Number(b.redelivered));
      },
    }),
  })),
];

function declaring(honest: TransportSession, change: (declaration: Declaration) => Declaration): Partial<TransportSession> {
  return {
    declare: (declaration) => honest.declare(change(declaration)),
    consume: (declaration) => honest.consume(change(declaration)),
  };
}

function onlyFirst(): Breakage {
  let first: Consumer | undefined;
  return {
    consumer(honest) {
      first ??= honest;
      return first === honest ? {} : { receive: async () => [] };
    },
  };
}

function looksOnce(): Breakage {
  return {
    consumer: (honest) => ({
      async receive(max, options) {
        const got = await honest.receive(max, { ...options, waitMs: 0 });
        return got.length > 0 ? got : never;
      },
    }),
  };
}
