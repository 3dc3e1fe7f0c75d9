/** For every case of outcomes, replies and payload a driver that breaks its promise. */
import type { WireMessage } from '../../../contract/message.ts';
import type { Delivery, SendOutcome, TransportSession } from '../../../contract/transport.ts';
import { instead } from '../sabotage.ts';
import { broken, type TransportSabotage } from './broken.ts';

export const messageSabotages: readonly TransportSabotage[] = [
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

function answering(
  honest: TransportSession,
  change: (outcomes: readonly SendOutcome[]) => readonly SendOutcome[],
): Partial<TransportSession> {
  return { send: async (messages) => change(await honest.send(messages)) };
}

function asText(bytes: Uint8Array): Uint8Array {
  return new TextEncoder().encode(new TextDecoder().decode(bytes));
}
