import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { before, describe, it } from 'node:test';
import { failure, testHost, waitingEntry, wire } from '../../../test/sqlite/support.ts';
import type { Database } from './database.ts';
import { sqlite } from './index.ts';
import type { SqliteStoreSession } from './port.ts';
import { anybodyInLine, firstOfEach, keyInLine, whatIsDue, whatIsNext } from './waiting.ts';

/** May look at every row: of one row; of an index without the rows, for a count; of a table, once per renamed subscription. */
const scansAllowed = [
  /^SCAN waybill_identity$/,
  /^SCAN CONSTANT ROW$/,
  /^SCAN json_each VIRTUAL TABLE/, // the types that were asked for
  /^SCAN waybill_projection$/, // a row each
  /^SCAN waybill_(waiting|failures) USING COVERING INDEX waybill_\w+_id$/,
  /^SCAN waybill_failures USING COVERING INDEX waybill_failures_group$/,
  /^SCAN waybill_saga USING COVERING INDEX waybill_saga_counts$/,
  /^SCAN g$/, // the groups of that
];
const renaming = /^update (?:waybill_(waiting|failures) set subscription|or ignore waybill_saga set saga) = /;

function planOf(database: DatabaseSync, sql: string): string[] {
  return (database.prepare(`explain query plan ${sql}`).all() as { detail: string }[]).map((row) => row.detail);
}

/** The steps of a plan that grow with a table. */
function slowSteps(plan: readonly string[]): string[] {
  return plan.filter(
    (step) => (step.startsWith('SCAN') && !scansAllowed.some((allowed) => allowed.test(step))) || step.includes('TEMP B-TREE'),
  );
}

/** Calls every member of every port, so that every statement is prepared. */
async function everything(store: SqliteStoreSession): Promise<void> {
  const { outbox, inbox, waiting, failures, once, sagas, inspect } = store.ports;
  const inOrder = { message: wire({ key: 'k' }), inOrder: true };
  await store.transaction(async (tx) => {
    await outbox.append(tx, [wire({ id: 'a' })]);
    await inbox.insert(tx, 's', [{ source: 'catalog', id: 'a' }]);
    await inbox.advance(tx, { subscription: 's', source: 'catalog', event: 'e', key: 'k', sequence: 1n });
    await waiting.add(tx, [waitingEntry(inOrder), waitingEntry(inOrder)]);
    await waiting.blocked(tx, 'basket.prices', ['k']);
    await waiting.cancel(tx, 'none');
    await waiting.cancel(tx, 'none', 's');
    const saga = { saga: 's', key: 'k', version: 1, revision: 1, status: 'running', state: '', ledger: '', startedMs: 0, changedMs: 0 } as const;
    await sagas!.save(tx, saga);
    await sagas!.load(tx, 's', 'k');
    await sagas!.save(tx, { ...saga, revision: 2 });
    await sagas!.awaken(tx, 's', 'k', 0);
    await failures.add(tx, [failure({ message: wire({ key: 'l' }), holds: true }), failure()]);
    await failures.take(tx, [1]);
    await once.find(tx, 's', 'k');
    await once.save(tx, { scope: 's', key: 'k', result: '1', fingerprint: undefined, retainMs: 0 });
    await inbox.rename(tx, 'basket.prices', 'basket.renamed');
  });
  const { rows } = await waiting.due('basket.renamed', 1, 1);
  const claim = { owner: 'me', claimMs: 0 };
  await waiting.start(rows, claim);
  await waiting.start(rows, { ...claim, renew: true });
  await store.transaction((tx) => waiting.settle(tx, rows[0]!, { dueMs: 0, message: wire({ key: 'k' }), inOrder: true }));
  await store.transaction((tx) => waiting.settle(tx, rows[0]!));
  await inbox.has('s', { source: 'catalog', id: 'a' });
  await inbox.sources('s', 10);
  const lease = (await outbox.acquire('me', 3_000))!;
  await lease.read(1);
  for (const state of ['ready', 'published', 'failed'] as const) await inspect.outbox({ state });
  await inspect.outbox({ id: 'a' });
  await lease.settle(1, []);
  await outbox.history!({ types: ['t'], max: 10 });
  await lease.renew();
  await lease.release();
  await inspect.waiting({ subscription: null });
  await inspect.waiting({ id: 'a' });
  for (const filter of [{ subscription: 's' }, { type: 't' }, { code: 'c' }, { id: 'a' }, { group: 'g' }]) await inspect.failures(filter);
  await inspect.failureGroups();
  await inspect.standing('s', [{ source: 'catalog', id: 'a' }]);
  await inspect.counts();
  for (const filter of [{}, { saga: 's' }, { saga: 's', key: 'k' }, { status: 'running' } as const, { saga: 's', status: 'running' } as const]) await sagas!.list(filter);
  await sagas!.counts();
  await sagas!.trim(1, 10);
  await outbox.trim(Infinity, 10);
  await inbox.trim(Infinity, 10);
  await once.trim(Number.MAX_SAFE_INTEGER, 10);
  await everyStream(store);
}

async function everyStream(store: SqliteStoreSession): Promise<void> {
  const streams = store.ports.streams!;
  const event = { id: 'a', type: 't', timeMs: 1, correlationId: 'a', causationId: undefined, headers: {}, body: '{}' };
  await store.transaction((tx) => streams.append(tx, 's', 0, [event]));
  await streams.read('s', 0, 10);
  const { next } = await streams.scan(undefined, 10);
  const held = (await streams.acquire('p', 'me', 3_000))!;
  await store.transaction((tx) => held.settleIn(tx, next));
  await held.renew(undefined);
  await streams.progress();
  await held.release();
  await store.transaction((tx) => streams.reset(tx, 'p'));
}

describe('the statements of the ports', () => {
  const seen = new Set<string>();
  let database: DatabaseSync;
  before(async (t) => {
    const { prepare } = DatabaseSync.prototype;
    DatabaseSync.prototype.prepare = function (this: DatabaseSync, sql, ...more) {
      seen.add(sql);
      return prepare.call(this, sql, ...more);
    };
    const store = (await sqlite(':memory:').open(testHost())) as SqliteStoreSession;
    database = (store.database as Database).connection;
    try {
      seen.clear(); // what opening asks is asked once
      await everything(store);
    } finally {
      DatabaseSync.prototype.prepare = prepare;
    }
    if ('after' in t) t.after(() => store.database.close());
  });

  it('find their rows by an index, however long a table is', () => {
    const mine = [...seen].filter((sql) => /waybill_[a-z]+ ?/.test(sql) && !/^(savepoint|release|rollback)/.test(sql) && !renaming.test(sql));
    assert.ok(mine.length >= 45, `only ${mine.length} statements were seen`);
    for (const table of ['ledger', 'position', 'lease', 'inbox', 'watermark', 'waiting', 'failures', 'once', 'saga', 'identity', 'event', 'projection']) {
      assert.ok(mine.some((sql) => sql.includes(`waybill_${table}`)), table); // prettier-ignore
    }
    for (const sql of mine) {
      const steps = slowSteps(planOf(database, sql)).filter((step) => !(step.includes('TEMP B-TREE') && sql.includes('group by fingerprint')));
      assert.deepEqual(steps, [], sql);
    }
  });

  it('would be caught without one (control)', () => {
    assert.equal(slowSteps(planOf(database, 'select * from waybill_ledger where id = ?')).length, 1);
    assert.equal(slowSteps(planOf(database, 'select * from waybill_waiting where subscription is ? and due <= ? order by due')).length, 2);
    assert.equal(slowSteps(planOf(database, 'select * from waybill_inbox order by id')).length, 2);
  });

  it('read what is due, and who is blocked, from the index that holds only that', () => {
    const due = 'SEARCH waybill_waiting USING INDEX waybill_waiting_due (subscription=? AND due<?)';
    assert.deepEqual(planOf(database, whatIsDue), [due]);
    assert.deepEqual(planOf(database, whatIsNext), [due.replace('due<?', 'due>?')]);
    const steps = planOf(database, firstOfEach).filter((step) => step.includes('waybill_waiting'));
    assert.equal(steps.length, 3, steps.join('\n'));
    for (const step of steps) assert.match(step, /^SEARCH .*USING COVERING INDEX waybill_waiting_due/);
    for (const [sql, more] of [[anybodyInLine, ''], [keyInLine, ' AND key=?']] as const) {
      const searches = planOf(database, sql).filter((step) => step.startsWith('SEARCH'));
      assert.deepEqual(searches, [
        `SEARCH waybill_waiting USING COVERING INDEX waybill_waiting_line (subscription=?${more})`,
        `SEARCH waybill_failures USING COVERING INDEX waybill_failures_hold (subscription=?${more})`,
      ]);
    }
  });
});
