/** For every case of what waits, what is kept and what operations read a driver that breaks its promise. */
import type { FailedRow, FailureRow, WaitingEntry, WaitingPort, WaitingRow } from '../../../contract/store.ts';
import { broken, type Breakage, type StoreSabotage } from './broken.ts';
import { asText } from './sabotage-messages.ts';
import { letsEverybodyIn } from './sabotage-transactions.ts';

const far = Number.MAX_SAFE_INTEGER;
const standingCase = 'a message stands where it is: unknown, applied, waiting, failed, by subscription, source and id';

export const waitingSabotages: readonly StoreSabotage[] = [
  broken('is early', 'a row is due at its time and not before, and what is next is said', () => ({
    waiting: (honest) => ({ due: (subscription, at, max) => honest.due(subscription, Number(at) + 1, max) }),
  })),
  broken('does not say what is next', 'a row is due at its time and not before, and what is next is said', () => ({
    waiting: (honest) => ({ due: async (...asked) => ({ ...(await honest.due(...asked)), nextDueMs: undefined }) }),
  })),
  broken('tells of the youngest only', 'of all subscriptions it is said at once when each has something to do', () => ({
    waiting: (honest) => ({ nextDue: async () => new Map([...(await honest.nextDue())].slice(-1)) }),
  })),
  broken('tells of no time', 'of all subscriptions it is said at once when each has something to do', () => ({
    waiting: (honest) => ({ nextDue: async () => new Map([...(await honest.nextDue()).keys()].map((name) => [name, 0])) }),
  })),
  broken('lets what is due at once wait a second', 'what is due now is due by the store’s clock, which says so', () =>
    adding((entry) => (entry.dueMs === 'now' ? { ...entry, dueMs: Date.now() + 1_000 } : entry)),
  ),
  broken('is an hour ahead of itself', 'what is due now is due by the store’s clock, which says so', () => ({
    waiting: (honest) => ({ nowMs: async (tx) => (await honest.nowMs(tx)) + 3_600_000 }),
  })),
  broken('leaves what is set to now where it was', 'what is due now is due by the store’s clock, which says so', () => ({
    waiting: (honest) => ({ settle: (tx, row, next) => honest.settle(tx, row, next && { ...next, dueMs: row.dueMs }) }),
  })),
  broken('brings the youngest first', 'rows that are due come oldest first, no more than was asked for', () =>
    giving((rows) => rows.toReversed()),
  ),
  broken('forgets why it waits', 'a row comes back as it was added, to the byte', () => adding((entry) => ({ ...entry, error: undefined }))),
  broken('mixes what waits for others in', 'each subscription has rows of its own, and so has the sender', () => ({
    waiting: (honest) => ({
      async due(subscription, nowMs, max) {
        const [own, others] = [await honest.due(subscription, nowMs, max), await honest.due(undefined, nowMs, max)];
        return { ...own, rows: [...own.rows, ...others.rows] };
      },
    }),
  })),
  broken('keeps no order', 'of a key whose order is kept only the oldest row counts', () => adding((entry) => ({ ...entry, inOrder: false }))),
  broken('keeps the order of a key over all subscriptions', 'the order of a key is kept within its subscription alone', () => {
    const owners = new Map<string | undefined, string | undefined>();
    const { waiting } = giving((rows) => rows.filter(({ message: { key }, subscription }) => owners.get(key) === subscription));
    return {
      waiting: (honest, session) => ({
        ...waiting!(honest, session),
        add(tx, entries) {
          for (const { message, subscription } of entries) if (!owners.has(message.key)) owners.set(message.key, subscription);
          return honest.add(tx, entries);
        },
      }),
    };
  }),
  broken('keeps the order of what needs none', 'what does not keep the order of its key passes', () =>
    adding((entry) => ({ ...entry, inOrder: true })),
  ),
  broken('lets a failure hold nothing', 'while a failure holds a key nothing of it is due, and afterwards it is', holdsNothing),
  broken('looks for failures only when a row is added', 'a failure that comes later holds what waits already', holdsNothing),
  broken(
    'puts what is asked for again at the end',
    'a failure that held its key goes before what lined up behind it, when it is asked for again',
    () => adding((entry) => (entry.reason === 'asked' ? { ...entry, reason: 'retry' } : entry)),
  ),
  broken('gives what is not due with the first of its line', 'what stands behind in line is found, as far as it may run with the first', () => ({
    waiting: (_honest, session) => ({
      async behind(heads) {
        const rows = await session.ports.inspect.waiting({ limit: 100 });
        return rows.filter(({ inOrder, row, message: { key } }) => inOrder && heads.some((head) => head.row !== row && head.message.key === key));
      },
    }),
  })),
  broken('reads a line however large it is', 'of what stands behind in line no more is read at once than a memory can hold', () => ({
    waiting: (_honest, session) => ({
      behind: async (heads) => (await session.ports.inspect.waiting({ limit: 100 })).filter(({ row }) => heads.every((head) => head.row !== row)),
    }),
  })),
  broken('takes whatever is asked for', 'a line is taken from its first on, in its order, and by whoever claimed it', () => ({
    waiting: (honest) => ({
      async take(tx, rows) {
        const taken: WaitingRow[] = [];
        for (const row of rows) if (await honest.settle(tx, row)) taken.push(row);
        return taken;
      },
    }),
  })),
  broken('forgets who died', 'whoever comes late to take a row leaves the start on record of another that had it since', () => ({
    waiting: (honest) => ({
      async take(tx, rows) {
        const taken = await honest.take!(tx, rows);
        for (const row of rows) if (!taken.some((one) => one.row === row.row)) await honest.settle(tx, row, {});
        return taken;
      },
    }),
  })),
  broken('blocks every key', 'blocked names the keys that have an ordered row waiting or a failure that holds them', () => ({
    waiting: () => ({ blocked: (_tx, _subscription, keys) => new Set(keys) }),
  })),
  broken('looks at nothing without a transaction', 'blocked names the keys that have an ordered row waiting or a failure that holds them', () => ({
    waiting: (honest) => ({ blocked: (tx, subscription, keys) => (tx === undefined ? new Set() : honest.blocked(tx, subscription, keys)) }),
  })),
  broken('blocks by what is committed', 'blocked sees what its own transaction wrote', () => ({
    waiting: (_honest, session) => ({
      async blocked(_tx, subscription) {
        const rows = await session.ports.inspect.waiting({ subscription });
        return new Set(rows.flatMap(({ message: { key } }) => key ?? []));
      },
    }),
  })),
  broken('records no starts', 'start counts each run that begins, in a commit of its own', () => ({
    waiting: () => ({ start: async (rows) => rows.map(({ starts }) => starts + 1) }),
  })),
  broken('starts what is gone', 'start says which rows are gone', () => ({
    waiting: (honest) => ({ start: async (rows, claim) => (await honest.start(rows, claim)).map((starts) => starts ?? 1) }),
  })),
  broken('lets everybody see what is claimed', 'what one has started is not due for another, who can neither start nor settle it', () => ({
    waiting: (honest, session) => ({
      async due(subscription, at, max, owner) {
        const { nowMs, nextDueMs } = await honest.due(subscription, at, max, owner);
        return { rows: (await session.ports.inspect.waiting({})).filter(({ dueMs }) => dueMs <= nowMs).slice(0, max), nowMs, nextDueMs };
      },
    }),
  })),
  broken('claims in the name of all', 'of many that start a row at once one gets it', () => {
    const { waiting } = knowsByNumber();
    let last: Promise<unknown> = Promise.resolve();
    return {
      waiting: (honest, session) => ({
        start(rows, claim) {
          const mine = last.then(() => waiting!(honest, session).start!(rows, { ...claim, owner: 'all' }));
          last = mine;
          return mine;
        },
      }),
    };
  }),
  broken('takes each claim for one of its own', 'an owner sees and takes over at once what its name has started', () => {
    let claims = 0;
    return { waiting: (honest) => ({ start: (rows, claim) => honest.start(rows, { ...claim, owner: `${claim.owner} ${++claims}` }) }) };
  }),
  broken('never lets a claim run out', 'a claim runs out: then another takes the row over, and who was late cannot settle it', () => ({
    waiting: (honest) => ({ start: (rows, claim) => honest.start(rows, { ...claim, claimMs: 3_600_000 }) }),
  })),
  broken('wants a living claim', 'who was late may settle as long as nobody has taken the row over', () => ({
    waiting: (honest, session) => ({
      async settle(tx, row, next) {
        const free = await session.ports.waiting.due(row.subscription, far, 100);
        return row.owner !== undefined && free.rows.some((one) => one.row === row.row) ? false : honest.settle(tx, row, next);
      },
    }),
  })),
  broken('counts a prolonged claim as a run', 'a claim is prolonged while it is held, and no run is counted', () => ({
    waiting: (honest) => ({ start: async (rows, claim) => (await honest.start(rows, claim)).map((starts) => (claim.renew === true && starts !== undefined ? starts + 1 : starts)) }),
  })),
  broken('starts what has been settled since', 'a row that has changed since it was read is not started', knowsByNumber),
  broken('starts what has been started since', 'a row that was started since it was read is not started as if it had not been', knowsByNumber),
  broken('frees a row only when it is gone', 'its owner may set a row and then remove it in one transaction; once set it is free for all', () => {
    const owners = new Map<number, string>();
    return {
      waiting: (honest) => ({
        async start(rows, claim) {
          const found = await honest.start(rows.filter(({ row }) => (owners.get(row) ?? claim.owner) === claim.owner), claim);
          for (const { row } of rows) owners.set(row, owners.get(row) ?? claim.owner);
          return found;
        },
      }),
    };
  }),
  broken('settles what is gone', 'settle removes the row, and says when it was gone', () => ({
    waiting: (honest) => ({ settle: async (tx, row, next) => (await honest.settle(tx, row, next)) || true }),
  })),
  broken('puts a row that goes on at the end of its line', 'settle sets the row to what comes next, and counts its runs from there', () => ({
    waiting: (honest) => ({
      async settle(tx, row, next) {
        const there = await honest.settle(tx, row);
        if (there && next !== undefined) await honest.add(tx, [{ ...row, ...next }]);
        return there;
      },
    }),
  })),
  broken('settles outside the transaction', 'a settle that is undone leaves the row where it was', () => {
    const gone = new Set<number>();
    const { waiting } = giving((rows) => rows.filter(({ row }) => !gone.has(row)));
    return {
      waiting: (honest, session) => ({
        ...waiting!(honest, session),
        settle(_tx, { row }) {
          gone.add(row);
          return true;
        },
      }),
    };
  }),
  broken('compares ids without case', 'cancel takes back a delayed message that has not left, and says when there is none', () => ({
    waiting: (honest) => ({ cancel: (tx, id, subscription) => honest.cancel(tx, id.toLowerCase(), subscription) }),
  })),
  broken('takes back whatever waits', 'cancel takes nothing from a subscription', () => ({
    waiting: (honest, session) => ({
      async cancel(tx, id) {
        const [row] = await session.ports.inspect.waiting({ id });
        return row === undefined ? false : honest.settle(tx, row);
      },
    }),
  })),
  broken(
    'takes back what waits under the id elsewhere',
    'cancel with a subscription takes what waits there under the id, for whatever reason, and nothing else',
    () => ({
      waiting: (honest, session) => ({
        async cancel(tx, id) {
          const rows = await session.ports.inspect.waiting({ id });
          for (const row of rows) await honest.settle(tx, row);
          return rows.length > 0;
        },
      }),
    }),
  ),
  broken('adds a schedule again', 'a schedule is there once, however often it is added, and goes on by settling it', () =>
    adding((entry) => (entry.reason === 'schedule' ? { ...entry, reason: 'delayed' } : entry)),
  ),
];

export const keepingSabotages: readonly StoreSabotage[] = [
  broken('takes the bytes of failures for text', 'a failure keeps the message to the byte, and why it was given up', () => ({
    failures: (honest) => ({
      add: (tx, rows) => honest.add(tx, rows.map((row) => ({ ...row, message: { ...row.message, body: asText(row.message.body) } }))),
    }),
  })),
  broken('copies instead of moving', 'a failure moves: who takes it gets it, and it is gone', () => ({
    failures: (_honest, session) => ({
      take: async (_tx, rows) => (await session.ports.inspect.failures({})).filter(({ row }) => rows.includes(row)),
    }),
  })),
  broken(
    'gives a failure as often as it is named',
    'a failure that is asked for twice is taken once, and rows that are not there are no error',
    () => ({
      failures: (honest) => ({
        async take(tx, rows) {
          const taken = await honest.take(tx, [...new Set(rows)]);
          return rows.flatMap((asked) => taken.find(({ row }) => row === asked) ?? []);
        },
      }),
    }),
  ),
  broken('takes outside the transaction', 'a failure that is taken in an undone transaction is still there', () => {
    const taken = new Set<number>();
    return {
      failures: (honest) => ({
        take(tx, rows) {
          for (const row of rows) taken.add(row);
          return honest.take(tx, rows);
        },
      }),
      inspect: (honest) => ({ failures: async (filter) => (await honest.failures(filter)).filter(({ row }) => !taken.has(row)) }),
    };
  }),
  broken('parks outside the transaction', 'a failure that is added in an undone transaction is not there', () => {
    const added: FailureRow[] = [];
    return {
      failures: () => ({ add: (_tx, rows) => void added.push(...rows) }),
      inspect: () => ({ failures: async (): Promise<FailedRow[]> => added.map((failure, row) => ({ ...failure, row })) }),
    };
  }),
  broken('forgets fingerprints', 'a result is found once it was saved, with its fingerprint', () => ({
    once: (honest) => ({ save: (tx, entry) => honest.save(tx, { ...entry, fingerprint: undefined }) }),
  })),
  broken('saves results outside the transaction', 'a result that was saved in an undone transaction is not there', () => {
    const saved = new Map<string, { result: string; fingerprint: string | undefined }>();
    return {
      once: () => ({ save: (_tx, { key, ...entry }) => void saved.set(key, entry), find: (_tx, _scope, key) => saved.get(key) }),
    };
  }),
  broken('compares scopes without case', 'a result belongs to its scope and key, exactly', () => ({
    once: (honest) => ({
      find: (tx, scope, key) => honest.find(tx, scope.toLowerCase(), key),
      save: (tx, entry) => honest.save(tx, { ...entry, scope: entry.scope.toLowerCase() }),
    }),
  })),
  broken('lets two past find', 'nobody gets past find while another works on the same key', letsEverybodyIn),
  broken('keeps results for ever', 'a result is found for as long as was asked, and not longer, trimmed or not', () => ({
    once: (honest) => ({ save: (tx, { retainMs: _retainMs, ...entry }) => honest.save(tx, entry) }),
  })),
  broken('trims all results at once', 'trim removes results whose time is over, no more than was asked for', () => ({
    once: (honest) => ({ trim: (nowMs) => honest.trim(nowMs, far) }),
  })),
  broken('trims results that are still due', 'trim removes results whose time is over, no more than was asked for', () => ({
    once: (honest) => ({ trim: (_nowMs, max) => honest.trim(far, max) }),
  })),
];

export const inspectSabotages: readonly StoreSabotage[] = [
  broken('calls everything published', 'the list of what was sent tells the state of each: ready, published, failed', () => ({
    inspect: (honest) => ({ outbox: async (page) => (await honest.outbox(page)).map((row) => ({ ...row, state: 'published' })) }),
  })),
  broken('ignores the state that is asked for', 'the list of what was sent is filtered by state and id, and paged', () => ({
    inspect: (honest) => ({ outbox: ({ state: _state, ...page }) => honest.outbox(page) }),
  })),
  broken('begins each page at the start', 'the list of what was sent is filtered by state and id, and paged', () => ({
    inspect: (honest) => ({ outbox: ({ after: _after, ...page }) => honest.outbox(page) }),
  })),
  broken('lists ten rows by default', 'a list has a hundred rows unless another limit is given, and never more than a thousand', () => ({
    inspect: (honest) => ({ outbox: (page) => honest.outbox({ limit: 10, ...page }) }),
  })),
  broken('takes null for any', 'the list of what waits is filtered by subscription and id, and paged', () => ({
    inspect: (honest) => ({
      waiting: ({ subscription, ...page }) => honest.waiting(typeof subscription === 'string' ? { ...page, subscription } : page),
    }),
  })),
  broken('ignores the code that is asked for', 'the list of failures is filtered by every field, and paged', () => ({
    inspect: (honest) => ({ failures: ({ code: _code, ...filter }) => honest.failures(filter) }),
  })),
  broken('groups over subscriptions', 'failures of the same trouble are a group, which names them in a filter', () => ({
    inspect: (honest) => ({
      async failureGroups() {
        const groups = await honest.failureGroups();
        return groups.filter(({ code }, at) => groups.findIndex((other) => other.code === code) === at);
      },
    }),
  })),
  broken('does not look at the source', standingCase, () => ({
    inspect: (honest) => ({ standing: (subscription, keys) => honest.standing(subscription, keys.map(({ id }) => ({ source: 'catalog', id }))) }),
  })),
  broken('takes what was taken on for applied', standingCase, (): Breakage => ({
    inspect: (honest) => ({ standing: async (subscription, keys) => (await honest.standing(subscription, keys)).map((one) => (one === 'unknown' ? one : 'applied')) }),
  })),
  broken('answers in an order of its own', standingCase, () => ({
    inspect: (honest) => ({ standing: async (subscription, keys) => (await honest.standing(subscription, keys)).toSorted() }),
  })),
  broken('counts what was sent as ready', 'counts tell what is ready, waits and has failed', () => ({
    inspect: (honest) => ({ counts: async () => ({ ...(await honest.counts()), ready: (await honest.outbox({})).length }) }),
  })),
];

function adding(change: (entry: WaitingEntry) => WaitingEntry): Breakage {
  return { waiting: (honest) => ({ add: (tx, entries) => honest.add(tx, entries.map(change)) }) };
}

function giving(change: (rows: readonly WaitingRow[]) => readonly WaitingRow[]): Breakage {
  return {
    waiting: (honest: WaitingPort) => ({
      async due(subscription, at, max) {
        const found = await honest.due(subscription, at, max);
        return { ...found, rows: change(found.rows) };
      },
    }),
  };
}

function holdsNothing(): Breakage {
  return { failures: (honest) => ({ add: (tx, rows) => honest.add(tx, rows.map((row) => ({ ...row, holds: false }))) }) };
}

/** Takes a row for what it is now, whatever whoever starts it knows of it. */
function knowsByNumber(): Breakage {
  return {
    waiting: (honest, session) => ({
      async start(rows, claim) {
        const now = await session.ports.inspect.waiting({});
        return honest.start(rows.map((row) => now.find((one) => one.row === row.row) ?? row), claim);
      },
    }),
  };
}
