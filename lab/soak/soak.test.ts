import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import type { Line } from '../torture/history.ts';
import { createRandom } from '../torture/random.ts';
import { type Books, compare } from './books.ts';
import { soak } from './run.ts';

const skip = needs('rabbitmq').skip || needs('postgres').skip;

it('publishers in two libraries, two relays and three consumers agree after a few seconds of faults', { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-soak-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const libraries = ['pg', 'Prisma'] as const; // each costs seconds to start
  const { violations, faults, deaths, messages, drainMs, troubles, history } = await soak({ folder, seconds: 6, random: createRandom(2), libraries, freezeMaxMs: 3_000, outageMaxMs: 1_000 });
  t.diagnostic(JSON.stringify({ faults, deaths, messages, drainMs }));
  assert.deepEqual(violations, [], JSON.stringify(troubles));
  assert.ok(messages > 40, `only ${messages} messages`);
  const publishers = new Set(history.filter(({ what }) => what === 'committed').map(({ by }) => by.split('#')[0]));
  assert.deepEqual(publishers, new Set(libraries), 'all have published');
});

describe('what does not agree is named', () => {
  const line = (of: Partial<Line>): Line => ({ t: 0, by: 'pg#1', what: 'tried', ...of });
  const history = [line({ id: 'm1' }), line({ id: 'm2' }), line({ id: 'n1' }), line({ what: 'committed', ids: ['m1', 'm2', 'n1'] }), line({ id: 'gone' }), line({ what: 'undone', ids: ['gone'], text: 'Undo' })];
  const moved = [{ id: 'm1', account: 'a1', version: 1, amount: 5 }, { id: 'm2', account: 'a1', version: 2, amount: -2 }];
  const right: Books = {
    accounts: [{ id: 'a1', version: 2, balance: 3 }, { id: 'a2', version: 0, balance: 0 }],
    ledger: [
      ...moved.map(({ id, ...body }) => ({ id, type: 'bank.moved.v1', body: JSON.stringify(body) })),
      { id: 'n1', type: 'books.note.v1', body: JSON.stringify({ account: 'a1', version: 2 }) },
    ],
    statement: moved,
    booked: [{ account: 'a1', version: 2, balance: 3 }],
    tally: [{ account: 'a1', n: 2, amount: 3 }],
    current: [{ account: 'a1', version: 2 }],
    notes: [{ id: 'n1', account: 'a1', version: 2 }],
    left: [],
    queued: { 'waybill.books.tally': 0 },
  };

  it('and nothing where all is right', () => assert.deepEqual(compare(history, right), []));

  const ghost = { id: 'gone', type: 'bank.moved.v1', body: JSON.stringify({ account: 'a1', version: 3, amount: 0 }) };
  for (const [what, expected, wrong] of [
    ['a commit that is gone', /m1 is committed, and it is not/, { ledger: right.ledger.slice(1) }],
    ['an undone message that is there', /gone is undone \(Undo\), and it is/, { ledger: [...right.ledger, ghost] }],
    ['a message that nobody published', /nobody published x/, { ledger: [...right.ledger, { ...ghost, id: 'x' }] }],
    ['a message twice', /in the ledger twice/, { ledger: [...right.ledger, right.ledger[2]!] }],
    ['a write without its event', /moved 3 times, and 2 events/, { accounts: [{ id: 'a1', version: 3, balance: 3 }] }],
    ['a balance that its events do not make', /a1 has 4, and its events make 3/, { accounts: [{ id: 'a1', version: 2, balance: 4 }] }],
    ['a lost effect', /the statement: m2 is lost/, { statement: moved.slice(0, 1) }],
    ['a doubled effect', /m1 is there twice/, { statement: [...moved, moved[0]!] }],
    ['an effect of other bytes', /m1 is .*9.* and was sent as .*5/, { statement: [{ ...moved[0]!, amount: 9 }, moved[1]!] }],
    ['effects that changed places', /the statement: a1 2 \(m2\) stands behind 0/, { statement: moved.toReversed() }],
    ['positions that changed places', /the ledger: a1 2 \(m2\) stands behind 0/, { ledger: right.ledger.toReversed() }],
    ['a lost command', /the notes: n1 is lost/, { notes: [] }],
    ['a balance that was booked twice', /the balance of a1/, { booked: [{ account: 'a1', version: 2, balance: 8 }] }],
    ['a batch that was counted twice', /the tally of a1/, { tally: [{ account: 'a1', n: 4, amount: 6 }] }],
    ['a version that went back', /the newest version of a1/, { current: [{ account: 'a1', version: 1 }] }],
    ['what is left in a queue', /3 messages are left in the queue q/, { queued: { q: 3 } }],
    ['what failed', /books has in failures/, { left: ['books has in failures: {}'] }],
  ] as const) {
    it(what, () => {
      const found = compare(history, { ...right, ...wrong } as Books);
      assert.ok(found.some((text) => expected.test(text)), JSON.stringify(found));
    });
  }
});
