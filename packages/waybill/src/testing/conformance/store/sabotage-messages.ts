/** For every case of outbox and inbox a driver that breaks its promise. */
import type { OutboxLease, OutboxRow } from '../../../contract/store.ts';
import type { WireMessage } from '../../../contract/message.ts';
import { broken, type StoreSabotage } from './broken.ts';
import { letsEverybodyIn, readsUncommitted, text } from './sabotage-transactions.ts';

const far = Number.MAX_SAFE_INTEGER;

export const outboxSabotages: readonly StoreSabotage[] = [
  broken('gives the history of other types too', 'history gives what is published of the types asked for, in order, page by page, and nothing else', () => ({
    outbox: (honest) => ({ history: (query) => honest.history!({ ...query, types: [...query.types, 'catalog.viewed.v1'] }) }),
  })),
  broken('begins every page of the history anew', 'history gives what is published of the types asked for, in order, page by page, and nothing else', () => ({
    outbox: (honest) => ({ history: ({ after: _, ...query }) => honest.history!(query) }),
  })),
  broken('takes bytes for text', 'rows come back as they were appended, to the byte', () => ({
    lease: (honest) => ({ read: async (max) => (await honest.read(max)).map((row) => ({ ...row, body: asText(row.body) })) }),
  })),
  broken('reads the newest first', 'rows are read in the order they were committed, at rising positions', () => ({
    lease: (honest) => ({ read: async (max) => (await honest.read(max)).toReversed() }),
  })),
  broken('begins each read at the start', 'read goes on after what it has read, and finds what is committed later', () => {
    const rows: OutboxRow[] = [];
    return {
      lease: (honest) => ({
        async read(max) {
          rows.push(...(await honest.read(1_000)));
          return rows.slice(0, max);
        },
      }),
    };
  }),
  broken('reads as many large rows as small ones', 'large rows are read a few at a time, all of them, in order', () => ({
    lease: (honest) => ({
      async read(max) {
        const rows: OutboxRow[] = [];
        for (let more = await honest.read(max); more.length > 0; more = await honest.read(max)) rows.push(...more);
        return rows;
      },
    }),
  })),
  broken('settles a window as a whole', 'several windows are read before the first is settled, and any prefix of them is settled', () => {
    const windows: (readonly OutboxRow[])[] = [];
    return {
      lease: (honest) => ({
        async read(max) {
          windows.push(await honest.read(max));
          return windows.at(-1)!;
        },
        settle: (position, parked) => honest.settle((windows.find((rows) => rows.some((row) => row.position === position)) ?? []).at(-1)?.position ?? position, parked),
      }),
    };
  }),
  broken('reads what is not committed', 'read never gives what is not committed', () => {
    const appended: WireMessage[] = [];
    return {
      outbox: (honest) => ({
        append(tx, messages) {
          appended.push(...messages);
          return honest.append(tx, messages);
        },
      }),
      lease: () => ({ read: async (max) => appended.splice(0, max).map((one, at) => ({ ...one, position: at + 1 })) }),
    };
  }),
  broken('lets everybody send', 'one instance at a time may send', () => ({
    outbox: (honest) => ({ acquire: (_owner, leaseMs) => honest.acquire('anybody', leaseMs) }),
  })),
  broken('lets one instance of each session send', 'one instance at a time may send, over several sessions', () => ({
    outbox: (honest) => ({ acquire: (_owner, leaseMs) => honest.acquire('anybody', leaseMs) }),
  })),
  broken('keeps a lease that was given back', 'a lease that is given back is free at once', () => ({
    lease: () => ({ release: async () => {} }),
  })),
  broken('gives leases for ever', 'a lease whose time is up is taken over', () => ({
    outbox: (honest) => ({ acquire: (owner, leaseMs) => honest.acquire(owner, leaseMs * 1_000) }),
  })),
  broken('says that it renewed and did not', 'a lease that is renewed in time is kept', () => ({
    lease: () => ({ renew: async () => true }),
  })),
  broken('has no fence', 'a lease that was lost writes nothing any more', () => ({
    lease: (honest) => ({ settle: (position, parked) => honest.settle(position, parked).catch(() => {}) }),
  })),
  broken('tells a zombie that its lease holds', 'a lease that was lost writes nothing any more', () => ({
    lease: (honest) => ({ renew: async () => (await honest.renew()) || true }),
  })),
  broken('lets a zombie give back what another holds', 'a lease that was lost writes nothing any more', () => {
    const held: OutboxLease[] = [];
    return {
      lease(honest) {
        held.push(honest);
        return { release: async () => held.at(-1)!.release() };
      },
    };
  }),
  broken('settles on reading', 'the next holder reads again from the last settled row', () => ({
    lease: (honest) => ({
      async read(max) {
        const rows = await honest.read(max);
        if (rows.length > 0) await honest.settle(rows.at(-1)!.position, []);
        return rows;
      },
    }),
  })),
  broken('keeps its position in memory', 'what a lease settles outlives the session', () => ({ lease: () => ({ settle: async () => {} }) })),
  broken('drops what is parked', 'what is parked stands in failures, with its bytes', () => ({
    lease: (honest) => ({ settle: (position) => honest.settle(position, []) }),
  })),
  broken('trims by age alone', 'trim removes what was published before that time, and never what was not', () => {
    let lease: OutboxLease | undefined;
    return {
      lease: (honest) => ((lease = honest), {}),
      outbox: (honest) => ({
        async trim(beforeMs, max) {
          await lease?.settle(far, []);
          return honest.trim(beforeMs, max);
        },
      }),
    };
  }),
  broken('trims by state alone', 'trim keeps what was published after that time', () => ({
    outbox: (honest) => ({ trim: (_beforeMs, max) => honest.trim(far, max) }),
  })),
  broken('trims all at once', 'trim removes no more than was asked for, the oldest first', () => ({
    outbox: (honest) => ({ trim: (beforeMs) => honest.trim(beforeMs, far) }),
  })),
  broken('counts positions anew', 'a position is never used twice, even when all rows were trimmed', () => ({
    lease: (honest) => ({ read: async (max) => (await honest.read(max)).map((row, at) => ({ ...row, position: at + 1 })) }),
  })),
  broken('locks no keys', "a key's lock is held until its transaction ends", letsEverybodyIn),
];

export const inboxSabotages: readonly StoreSabotage[] = [
  broken('finds everything new', 'insert tells for each key whether it was new', () => ({
    inbox: (honest) => ({ insert: async (tx, subscription, keys) => (await honest.insert(tx, subscription, keys)).map(() => true) }),
  })),
  broken('looks before it inserts', 'a key that stands twice in one call is new once', () => ({
    inbox: (honest) => ({
      async insert(tx, subscription, keys) {
        const first = keys.map((key) => keys.findIndex(({ source, id }) => source === key.source && id === key.id));
        const found = await honest.insert(tx, subscription, keys);
        return first.map((at) => found[at]!);
      },
    }),
  })),
  broken('knows only what is committed', 'a key is known to its own transaction', () => ({
    inbox: (honest) => ({
      async insert(tx, subscription, keys) {
        const known = await Promise.all(keys.map((key) => honest.has(subscription, key)));
        await honest.insert(tx, subscription, keys);
        return known.map((committed) => !committed);
      },
    }),
  })),
  broken('compares as text is compared in some databases', 'a key is its subscription, source and id, exactly', () => {
    const alike = (word: string): string => word.toLowerCase().trimEnd();
    return {
      inbox: (honest) => ({
        insert: (tx, subscription, keys) =>
          honest.insert(tx, subscription, keys.map(({ source, id }) => ({ source: alike(source), id: alike(id) }))),
        has: (subscription, { source, id }) => honest.has(subscription, { source: alike(source), id: alike(id) }),
      }),
    };
  }),
  broken('names a source for each of its messages', 'sources names each from whom the subscription has taken something on, once', () => ({
    inbox: (honest) => ({ sources: async (subscription, max) => (await honest.sources(subscription, max)).flatMap((source) => [source, source]).slice(0, max) }),
  })),
  broken('remembers what was undone', 'has knows what is committed', readsUncommitted),
  broken(
    'lets two inserts of one key run side by side',
    'an insert waits for another that is under way: new if that one is undone, else known',
    letsEverybodyIn,
  ),
  broken('finds a key new for everybody', 'of many inserts of one key at once, one finds it new', () => ({
    inbox: (honest) => ({ insert: async (tx, subscription, keys) => (await honest.insert(tx, subscription, keys)).map(() => true) }),
  })),
  broken('finds a key new once in each session', 'of inserts of one key from several sessions, one finds it new', () => ({
    inbox(honest) {
      const own = new Set<string>();
      return {
        async insert(tx, subscription, keys) {
          await honest.insert(tx, subscription, keys);
          return keys.map((key) => {
            const isNew = !own.has(text(subscription, key));
            own.add(text(subscription, key));
            return isNew;
          });
        },
      };
    },
  })),
  broken('lets a watermark stand still', 'a watermark rises, and says when it does not', () => ({
    inbox: (honest) => ({ advance: async (tx, mark) => (await honest.advance(tx, mark)) || true }),
  })),
  broken('counts in floating point', 'a watermark tells large numbers apart, up to 63 bits', () => ({
    inbox: (honest) => ({ advance: (tx, mark) => honest.advance(tx, { ...mark, sequence: BigInt(Number(mark.sequence)) }) }),
  })),
  broken('has one watermark for all events of a key', 'there is a watermark for each subscription, source, event and key, exactly', () => ({
    inbox: (honest) => ({ advance: (tx, mark) => honest.advance(tx, { ...mark, event: 'any' }) }),
  })),
  broken('keeps watermarks outside the transaction', 'a watermark that was raised in an undone transaction stands where it stood', () => {
    const reached = new Map<string, bigint>();
    return {
      inbox: () => ({
        advance(_tx, { key, sequence }) {
          if ((reached.get(key) ?? -1n) >= sequence) return false;
          reached.set(key, sequence);
          return true;
        },
      }),
    };
  }),
  broken('renames nothing', 'a renamed subscription knows what it took on under its old name', () => ({ inbox: () => ({ rename: () => {} }) })),
  broken('renames rows alone', 'a renamed subscription keeps its watermarks', marksApart),
  broken('keeps the watermark of the new name', 'renaming onto a name that is in use keeps the rows of both, and the higher watermark', marksApart),
  broken('leaves what waits under the old name', 'what waits and what has failed goes along with a renamed subscription', () => ({
    waiting: (honest) => ({
      due: (subscription, nowMs, max) => honest.due(subscription === 'basket.new' ? 'basket.nobody' : subscription, nowMs, max),
    }),
  })),
  broken(
    'trims what is still needed',
    'trim removes rows taken on before that time, but none that a waiting or failed message still needs',
    () => {
      const old = new Set<string>();
      let trimmed = false;
      return {
        inbox: (honest) => ({
          insert(tx, subscription, keys) {
            if (!trimmed) for (const key of keys) old.add(text(subscription, key));
            return honest.insert(tx, subscription, keys);
          },
          has: async (subscription, key) => !(trimmed && old.has(text(subscription, key))) && honest.has(subscription, key),
          trim(beforeMs, max) {
            trimmed = true;
            return honest.trim(beforeMs, max);
          },
        }),
      };
    },
  ),
  broken('trims the whole inbox at once', 'trim of the inbox removes no more than was asked for', () => ({
    inbox: (honest) => ({ trim: (beforeMs) => honest.trim(beforeMs, far) }),
  })),
];

function marksApart(): ReturnType<Parameters<typeof broken>[2]> {
  return {
    inbox: (honest) => ({
      advance: (tx, mark) => honest.advance(tx, { ...mark, subscription: `${mark.subscription}/marks` }),
    }),
  };
}

export function asText(bytes: Uint8Array): Uint8Array {
  return new TextEncoder().encode(new TextDecoder().decode(bytes));
}
