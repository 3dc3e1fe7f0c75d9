/** For every case of queues a driver that breaks its promise. */
import type { WireMessage } from '../../../contract/message.ts';
import type { Declaration, TransportSession } from '../../../contract/transport.ts';
import { broken, type TransportSabotage } from './broken.ts';

export const queueSabotages: readonly TransportSabotage[] = [
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
