/** For every case of sagas a driver that breaks its promise. */
import type { SagaRow, SagasPort } from '../../../contract/store.ts';
import { broken, type Breakage, type StoreSabotage } from './broken.ts';

export const sagaSabotages: readonly StoreSabotage[] = [
  broken('keeps letters of one byte only', 'a saga comes back as it was saved, to the letter', () =>
    saving((row) => ({ ...row, state: Buffer.from(row.state, 'latin1').toString('latin1') })),
  ),
  broken('compares keys without case', 'a saga is named by its saga and key, exactly', () => ({
    sagas: (honest) => ({
      load: (tx, saga, key) => honest.load(tx, saga.toLowerCase(), key.toLowerCase()),
      save: (tx, row) => honest.save(tx, { ...row, saga: row.saga.toLowerCase(), key: row.key.toLowerCase() }),
    }),
  })),
  broken('says yes to a second beginning', 'a saga begins once', () => ({
    sagas: (honest) => ({ save: async (tx, row) => (await honest.save(tx, row)) || row.revision === 1 }),
  })),
  broken('writes over whatever is there', 'a revision is written over the one before it, and over no other', overwriting),
  broken('says yes without writing', 'of two that work on one saga at once one is told no, or waits for the other', () => ({
    sagas: (honest) => ({ save: (tx, row) => (row.revision === 1 ? honest.save(tx, row) : true) }),
  })),
  broken('lets both begin', 'a saga that two begin at once begins once', () => ({
    sagas: (honest) => ({ save: async (tx, row) => (await honest.save(tx, row)) || row.revision === 1 }),
  })),
  broken('saves outside the transaction', 'what is saved in an undone transaction is not there, and is seen within it', () => {
    const saved = new Map<string, SagaRow>();
    return {
      sagas: () => ({
        save: (_tx, row) => Boolean(saved.set(row.key, row)),
        load: (_tx, _saga, key) => saved.get(key),
      }),
    };
  }),
  broken('makes due whatever waits', 'a saga that begins makes due what waits for it, of its key alone', () => ({
    sagas: (_honest, session) => ({
      async awaken(tx, saga, key, dueMs) {
        for (const row of await session.ports.inspect.waiting({ subscription: saga })) {
          if (row.message.key === key) await session.ports.waiting.settle(tx, row, { dueMs });
        }
      },
    }),
  })),
  broken('makes nothing due', 'a saga that begins makes due what waits for it, of its key alone', () => ({ sagas: () => ({ awaken: () => {} }) })),
  broken('ignores the status that is asked for', 'the list of sagas is filtered by saga, key and status, and paged', () => ({
    sagas: (honest) => ({ list: ({ status: _status, ...filter }) => honest.list(filter) }),
  })),
  broken('begins each page at the start', 'the list of sagas is filtered by saga, key and status, and paged', () => ({
    sagas: (honest) => ({ list: ({ after: _after, ...filter }) => honest.list(filter) }),
  })),
  broken('counts over versions', 'sagas are counted by saga, version and status', () => ({
    sagas: (honest) => ({ counts: async () => (await honest.counts()).map((group) => ({ ...group, version: 1 })) }),
  })),
  broken('trims what has not ended', 'trim removes old sagas that have ended and that nothing waits for, no more than was asked for', () =>
    saving((row) => (row.status === 'parked' ? { ...row, status: 'completed' } : row)),
  ),
  broken('trims all at once', 'trim removes old sagas that have ended and that nothing waits for, no more than was asked for', () => ({
    sagas: (honest) => ({ trim: (beforeMs) => honest.trim(beforeMs, 1_000) }),
  })),
  broken('leaves sagas under the old name', 'a renamed subscription takes its sagas along', () => ({
    inbox: () => ({ rename: () => {} }),
  })),
];

function saving(change: (row: SagaRow) => SagaRow): Breakage {
  return { sagas: (honest) => ({ save: (tx, row) => honest.save(tx, change(row)) }) };
}

/** Each write finds the revision that it wants. */
function overwriting(): Breakage {
  return { sagas: (honest) => ({ save: async (tx, row) => honest.save(tx, { ...row, revision: await nextOf(honest, tx, row) }) }) };
}

async function nextOf(honest: SagasPort, tx: Parameters<SagasPort['load']>[0], { saga, key }: SagaRow): Promise<number> {
  return ((await honest.load(tx, saga, key))?.revision ?? 0) + 1;
}
