/** The checker over a run in which nothing went wrong, and over stories of it that were tampered with: each must be named. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type Story, check, simulate } from 'waybill/testing';

type Conversation = Story['sagas'][number];
type Entry = Conversation['log'][number];
type Plant = (story: Story) => Partial<Story>;

const isUndone = ({ status, log }: Conversation): boolean => status === 'compensated' && log.filter(({ does }) => does.startsWith('undo ')).length > 1;

/** One of the sagas that ended so, changed. */
const saga =
  (status: string, change: (saga: Conversation) => Partial<Conversation>): Plant =>
  ({ sagas }) => {
    const victim = sagas.find((one) => one.status === status && (status === 'completed' || isUndone(one)));
    assert.ok(victim, `no saga is ${status}`);
    return { sagas: sagas.map((one) => (one === victim ? { ...one, ...change(one) } : one)) };
  };
const log = (status: string, change: (log: readonly Entry[]) => readonly Entry[]): Plant => saga(status, (one) => ({ log: change(one.log) }));
const entry = (log: readonly Entry[], does: Entry['does'], like: Partial<Entry> = {}): Entry => ({ ...log[0]!, id: `saga:${does}`, caused: undefined, ...like, does });
const totals = ({ applied }: Story): Story['applied'] => applied.filter(({ subscription, n }) => subscription === 'shop.totals' && n > 1);

const planted: readonly (readonly [invariant: string, what: string, plant: Plant])[] = [
  ['I1', 'an order that began no saga', ({ sagas }) => ({ sagas: sagas.slice(1) })],
  ['I1', 'an event of a stream that is not projected', (story) => ({ applied: story.applied.filter((one) => one !== totals(story)[0]) })],
  ['I2', 'a saga that was begun by nobody', log('completed', (entries) => entries.map((one, at) => (at === 0 ? { ...one, id: 'nobody' } : one)))],
  ['I3', 'a message that a saga took twice', log('completed', (entries) => [entries[0]!, entry(entries, 'again', { id: entries[0]!.id }), ...entries.slice(1)])],
  ['I3', 'an event that was projected twice', (story) => ({ applied: [...story.applied, { ...totals(story)[0]!, position: 1e9 }] })],
  ['I4', 'a command of a step that is not there', ({ asked }) => ({ asked: [...asked, { id: 'nobody' }] })],
  ['I4', 'a step whose command is not there', ({ asked }) => ({ asked: asked.slice(1) })],
  ['I5', 'events of a stream that were projected in another order', (story) => ({ applied: story.applied.map((one) => (one.subscription === 'shop.totals' ? { ...one, position: -one.position } : one)) })],
  ['I5', 'a stream with a gap', ({ sent }) => ({ sent: sent.map((one) => (one.type === 'shop.counted.v1' && one.n > 1 ? { ...one, n: one.n + 1 } : one)) })],
  ['I5', 'a version that two operations published', ({ sent }) => ({ sent: sent.map((one) => (one.type === 'shop.stepped.v1' && one.n > 1 ? { ...one, n: one.n - 1 } : one)) })],
  ['I15', 'a saga that never ended', saga('compensated', () => ({ status: 'undoing' }))],
  ['I15', 'a saga that is parked, and nothing of it in failures', saga('compensated', () => ({ status: 'parked' }))],
  ['I15', 'a saga that is completed with half of it done', saga('completed', ({ held }) => ({ held: { ...held, charge: 0 } }))],
  ['I15', 'a saga that is compensated with a step that is not', saga('compensated', ({ held }) => ({ held: { ...held, reserve: 1 } }))],
  ['I15', 'a step that was not undone', log('compensated', (entries) => entries.slice(0, -1))],
  ['I15', 'steps that were undone in the order in which they were done', log('compensated', (entries) => [...entries.slice(0, -2), entries.at(-1)!, entries.at(-2)!])],
  ['I15', 'a step that was undone twice', log('compensated', (entries) => [...entries, entries.at(-1)!])],
  ['I15', 'a saga that went on after it had been cancelled', log('compensated', (entries) => [...entries, entry(entries, 'again')])],
  ['I15', 'a saga that was completed and taken back', log('completed', (entries) => [...entries, entry(entries, 'undo charge')])],
  ['I15', 'a saga that began twice', log('completed', (entries) => [...entries.slice(0, 1), entry(entries, 'start'), ...entries.slice(1)])],
  ['I16', 'a timeout that came early', log('compensated', (entries) => entries.map((one) => (one.does === 'refused' || one.does === 'cancelled' || one.does === 'timeout' ? { ...one, does: 'timeout', atMs: one.setMs } : one)))],
];

describe('the checker', () => {
  let story: Story;

  before(async () => {
    const calm = { order: 'by-key', throws: 0, doomed: 0, poison: false, outage: false, restarts: false, repeats: false, renames: false } as const;
    for (let seed = 1; seed < 50; seed++) { // until chance had a saga take back several steps
      const outcome = await simulate({ seed, faults: [], knobs: { ...calm, operations: 60, accounts: true, holds: false, takes: ['orders', 'steps'] } });
      assert.deepEqual(outcome.violations, []);
      ({ story } = outcome);
      if (story.sagas.some(isUndone) && story.sagas.some(({ status }) => status === 'completed')) break;
    }
  });

  for (const [invariant, what, plant] of planted) {
    it(`names ${invariant} for ${what}`, () => {
      const found = check({ ...story, ...plant(story) });
      assert.ok(found.some((one) => one.invariant === invariant), `found only ${JSON.stringify(found)}`);
    });
  }

  it('names I20 for a message that was kept waiting, though only another key was in trouble', async () => {
    const { story: calm, violations } = await simulate({ seed: 1, knobs: { calm: true, operations: 40, takes: ['steps', 'view'] } });
    assert.deepEqual(violations, []);
    const { troubled } = calm;
    assert.ok(troubled && calm.dead.some(({ key }) => troubled.has(key)), 'nothing went wrong');
    const late = (of: (key: string) => boolean): Story => ({ ...calm, applied: calm.applied.map((one) => (of(one.key) ? { ...one, atMs: one.atMs! + 10_000 } : one)) });
    assert.deepEqual(check(late((key) => troubled.has(key))), []);
    assert.deepEqual(new Set(check(late((key) => key === 'b')).map(({ invariant }) => invariant)), new Set(['I20']));
  });

  it('is content with a saga that is parked, with the failure that holds it', () => {
    const parked = saga('compensated', ({ log }) => ({ status: 'parked', parked: true, log: log.slice(0, -1) }))(story);
    const { asked, sagas } = { ...story, ...parked };
    const noted = new Set(sagas.flatMap(({ log }) => log.flatMap(({ caused }) => caused ?? [])));
    assert.deepEqual(check({ ...story, ...parked, asked: asked.filter(({ id }) => noted.has(id)) }), []);
  });
});
