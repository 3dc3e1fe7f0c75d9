/** For every case of the transport suite a driver that breaks its promise. */
import type { WireMessage } from '../../../contract/message.ts';
import type { Consumer, Declaration, Delivery, SendOutcome, TransportSession } from '../../../contract/transport.ts';
import { instead } from '../sabotage.ts';
import { broken, type Breakage, type TransportSabotage } from './broken.ts';
import { message } from './world.ts';

const never: Promise<never> = new Promise(() => {});

export const transportSabotages: readonly TransportSabotage[] = [
  // queues
  broken('makes a queue only when somebody consumes', 'a declared queue keeps what is sent before anybody consumes', () => ({
    session: () => ({ declare: async () => {} }),
  })),
  broken('gives a new queue what was sent before', 'a subscription from now on does not get what was sent before it was declared', () => {
    const sent: WireMessage[] = [];
    return {
      session: (honest) => ({
        async declare(declaration) {
          await honest.declare(declaration);
          await honest.send(sent);
        },
        send(messages) {
          sent.push(...messages);
          return honest.send(messages);
        },
      }),
    };
  }),
  broken('removes its queues when the session closes', 'a queue outlives the sessions of its service and goes on filling', () => ({
    session: (honest) => {
      const names: string[] = [];
      return {
        declare(declaration) {
          names.push(declaration.name);
          return honest.declare(declaration);
        },
        async close() {
          for (const name of names.splice(0)) await honest.remove(name, 'drop');
          await honest.close();
        },
      };
    },
  })),
  broken('has one queue for all subscriptions of a service', 'each subscription gets a copy of its own', () => ({
    session: (honest, { service }) => renaming(honest, () => `${service}.all`),
  })),
  broken('names queues without their service', 'two services never share a queue, however alike their names are', () => ({
    session: (honest) => renaming(honest, (name) => name.slice(name.indexOf('.') + 1)),
  })),
  broken('drops what its own service sent', 'a service receives its own events', () => ({
    delivery: (honest, { service }) => (honest.headers['source'] === service ? undefined : honest),
  })),
  broken('hears one service alone', 'a subscription gets what every service sends, of each in its order', () => ({
    delivery: (honest) => (honest.headers['source'] === 'catalog' ? honest : undefined),
  })),
  broken('takes every version of a type', 'a queue takes the types that it binds and no others', () => ({
    session: (honest) =>
      declaring(honest, (of) => ({
        ...of,
        bindings: of.bindings.flatMap((binding) => [binding, { ...binding, type: `${binding.type}0` }]),
      })),
  })),
  broken('binds types of any kind', 'a binding is of one kind: no event comes as a command', () => ({
    session: (honest) =>
      declaring(honest, (of) => ({ ...of, bindings: of.bindings.flatMap(({ type }) => [{ type, kind: 'event' }, { type, kind: 'command' }]) })),
  })),
  broken('empties a queue that is declared again', 'declaring again changes nothing: what is queued stays, and nothing is doubled', () => ({
    session: (honest) => ({
      async declare(declaration) {
        await honest.remove(declaration.name, 'drop');
        await honest.declare(declaration);
      },
    }),
  })),
  broken('binds only once', 'a type that is added later reaches the queue that is there', () => {
    const known = new Set<string>();
    return {
      session: (honest) => ({
        async declare(declaration) {
          if (!known.has(declaration.name)) await honest.declare(declaration);
          known.add(declaration.name);
        },
      }),
    };
  }),
  broken('begins now whatever is asked', 'a subscription that begins in the past gets what was sent before it', () => ({
    session: (honest) => declaring(honest, (of) => ({ ...of, from: 'now' })),
  })),
  broken(
    'begins at the beginning when a point in time is asked',
    'a subscription that begins at a point in time gets what was sent since',
    () => ({ session: (honest) => declaring(honest, (of) => ({ ...of, from: 'beginning' })) }),
  ),
  broken('begins now where it should refuse', 'a transport that keeps nothing of the past refuses to begin there', () => ({
    session: (honest) => declaring(honest, (of) => ({ ...of, from: 'now' })),
  })),
  broken('begins again each time it is declared', 'where a subscription begins counts only when it is created', () => ({
    session: (honest) => ({
      async declare(declaration) {
        await honest.remove(declaration.name, 'drop');
        await honest.declare(declaration);
      },
    }),
  })),
  broken(
    'knows nothing of former names',
    'a renamed subscription takes along what is queued, and gets each message once from then on',
    () => ({ session: (honest) => declaring(honest, (of) => ({ ...of, formerly: [] })) }),
  ),
  broken('leaves the old queue as it was', 'a renamed subscription leaves nothing under its old name', () => ({
    session: (honest) => declaring(honest, (of) => ({ ...of, formerly: [] })),
  })),
  broken('waits for the old queue before it makes the new one', 'a subscription that never existed under its former name is created', () => ({
    session: (honest) => ({ declare: async (of) => (of.formerly.length > 0 ? undefined : honest.declare(of)) }),
  })),
  broken('removes nothing', 'removing a subscription drops what is queued when that is asked for', () => ({
    session: () => ({ remove: async () => {} }),
  })),
  broken('removes without waiting', 'removing a subscription waits until what is queued has been applied', () => ({
    session: () => ({ remove: async () => {} }),
  })),
  broken('applies what is queued and goes on taking', 'a subscription that was removed gets nothing any more', () => ({
    session: (honest) => ({ remove: async (name, queued) => (queued === 'drop' ? honest.remove(name, queued) : undefined) }),
  })),
  broken('removes by prefix', 'removing a subscription leaves the others alone', () => {
    const names: string[] = [];
    return {
      session: (honest) => ({
        declare(declaration) {
          names.push(declaration.name);
          return honest.declare(declaration);
        },
        async remove(prefix, queued) {
          for (const name of names) if (name.startsWith(prefix)) await honest.remove(name, queued);
        },
      }),
    };
  }),
  broken('throws at a name it does not know', 'removing what is not there is harmless', () => ({
    session: () => ({ remove: (name) => Promise.reject(new Error(`no queue ${name}`)) }),
  })),
  broken('lets anybody commit', 'a consumer whose subscription was removed may commit nothing', () => ({
    consumer: () => ({ settleIn: () => {} }),
  })),

  // delivery
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

  // order
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

  // outcomes
  broken('loses commands', 'a command that a queue takes is stored, and comes', () => ({
    session: (honest) => ({
      async send(messages) {
        await honest.send(messages.filter(({ kind }) => kind !== 'command'));
        return messages.map(() => ({ kind: 'stored' }));
      },
    }),
  })),
  broken('calls everything stored', 'a command that no queue takes is unroutable', () => ({
    session: (honest) => answering(honest, (outcomes) => outcomes.map(() => ({ kind: 'stored' }))),
  })),
  broken('routes by type alone', 'a command goes to its recipient alone, even where another service takes its type', () => ({
    session: (honest) => ({ send: (messages) => honest.send(messages.map((one) => ({ ...one, recipient: undefined }))) }),
  })),
  broken('remembers routes for ever', 'a command whose queue was removed is unroutable', () => {
    let routed = false;
    return {
      session: (honest) =>
        answering(honest, (outcomes) => {
          routed ||= outcomes.some(({ kind }) => kind === 'stored');
          return routed ? outcomes.map(() => ({ kind: 'stored' })) : outcomes;
        }),
    };
  }),
  broken('refuses what nobody takes', 'an event that nobody takes is no failure', () => ({
    session: (honest) => answering(honest, (outcomes) => outcomes.map(() => ({ kind: 'refused', reason: 'nobody takes it' }))),
  })),
  broken('answers for failures alone', 'there is one outcome for each message, in their order', () => ({
    session: (honest) => answering(honest, (outcomes) => outcomes.filter(({ kind }) => kind !== 'stored')),
  })),
  broken('refuses the whole batch with one message', 'a message that the broker refuses is told apart, and the rest goes on', () => ({
    session: (honest) =>
      answering(honest, (outcomes) => {
        const refused = outcomes.find(({ kind }) => kind === 'refused');
        return outcomes.map((outcome) => refused ?? outcome);
      }),
  })),
  broken(
    'calls stored what never reached the broker',
    'while the broker is away send and receive reject, and afterwards nothing that was stored is lost',
    () => ({
      session: (honest) => ({ send: (messages) => honest.send(messages).catch(() => messages.map(() => ({ kind: 'stored' }))) }),
    }),
  ),
  broken('says that it publishes at commit', 'what goes beside the commit is there exactly where the commit is the publish', () => ({
    session: (honest) => ({ capabilities: { publishesAtCommit: !honest.capabilities.publishesAtCommit } }),
  })),
  broken('commits what was undone', 'where the commit is the publish, what was undone reaches nobody', () => ({
    store: (honest) => ({
      async transaction(work, options) {
        let thrown: { readonly error: unknown } | undefined;
        const result = await honest.transaction(async (tx) => {
          try {
            return await work(tx);
          } catch (error) {
            thrown = { error };
            return undefined as never;
          }
        }, options);
        if (thrown) throw thrown.error;
        return result;
      },
    }),
  })),
  broken('looks only when it is told to', 'where the commit is the publish, what was committed comes without any hint', () => {
    let hinted = false;
    return {
      session: ({ ledger }) => ({ ...(ledger && { ledger: instead(ledger, { hint: () => ((hinted = true), ledger.hint()) }) }) }),
      consumer: (honest) => ({ receive: async (max, options) => (hinted ? honest.receive(max, options) : []) }),
    };
  }),
  broken('sends replies to every instance', 'a reply reaches the one instance that it is for', () => {
    const all: ((delivery: Delivery) => void)[] = [];
    return {
      session: (honest) => ({
        async listen(deliver) {
          all.push(deliver);
          return honest.listen((delivery) => all.forEach((each) => each(delivery)));
        },
      }),
    };
  }),
  broken('takes replies for text', 'a reply comes with its headers and bytes unchanged', () => ({
    session: (honest) => ({
      listen: (deliver) => honest.listen((delivery) => deliver({ ...delivery, body: asText(delivery.body) })),
    }),
  })),
  broken('keeps the address of an instance that has left', 'a reply to an address where nobody listens any more is unroutable', () => ({
    session: (honest) => ({ listen: async (deliver) => instead(await honest.listen(deliver), { close: async () => {} }) }),
  })),
  broken('is dead once a listener has thrown', 'a listener that throws harms nobody', () => ({
    session: (honest) => ({
      listen(deliver) {
        let dead = false;
        return honest.listen((delivery) => {
          if (dead) return;
          try {
            deliver(delivery);
          } catch {
            dead = true;
          }
        });
      },
    }),
  })),

  // payload
  broken('takes bytes for text', 'a body comes with every byte unchanged', () => ({
    delivery: (honest) => ({ ...honest, body: asText(honest.body) }),
  })),
  broken('trims headers', 'headers come with every name and value unchanged', () => ({
    delivery: (honest) => ({
      ...honest,
      headers: Object.fromEntries(Object.entries(honest.headers).map(([name, value]) => [name, value.trim()])),
    }),
  })),
  broken('keeps a reference to what was sent', 'a message is what it was when it was sent, whatever becomes of the object', () => {
    let last: WireMessage | undefined;
    return {
      session: (honest) => ({
        send(messages) {
          last = messages.at(-1);
          return honest.send(messages);
        },
      }),
      delivery: (honest) => ({ ...honest, ...(last && { body: last.body, headers: last.headers }) }),
    };
  }),
  broken('gives one object to all receivers', "each delivery is its receiver's own: what one does to it no other sees", () => {
    const shared = new Map<string, Delivery>();
    return {
      delivery: (honest) => {
        const id = honest.headers['id']!;
        if (!shared.has(id)) shared.set(id, honest);
        const { headers, body } = shared.get(id)!;
        return { ...honest, headers, body };
      },
    };
  }),
];

function declaring(honest: TransportSession, change: (declaration: Declaration) => Declaration): Partial<TransportSession> {
  return {
    declare: (declaration) => honest.declare(change(declaration)),
    consume: (declaration) => honest.consume(change(declaration)),
  };
}

function renaming(honest: TransportSession, change: (name: string) => string): Partial<TransportSession> {
  return declaring(honest, (declaration) => ({ ...declaration, name: change(declaration.name) }));
}

function answering(
  honest: TransportSession,
  change: (outcomes: readonly SendOutcome[]) => readonly SendOutcome[],
): Partial<TransportSession> {
  return { send: async (messages) => change(await honest.send(messages)) };
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

function asText(bytes: Uint8Array): Uint8Array {
  return new TextEncoder().encode(new TextDecoder().decode(bytes));
}
