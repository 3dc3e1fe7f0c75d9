/** What the judge says of delayed messages, deleted queues and restored backups: of a history that is right, and of what is planted in it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Line } from './history.ts';
import { judge } from './judge.ts';
import { subscriptions } from './role.ts';
import type { State } from './state.ts';

const body = (n: number, key = 'k'): string => JSON.stringify({ key, n });
const line = (t: number, of: Omit<Line, 't' | 'by'>): Line => ({ t, by: 'bank 1#1', ...of });
const row = (position: number, id: string, type: string, key: string, n: number): State['ledger'][number] => ({ service: 'bank', position, id, type, kind: 'event', key, body: body(n, key) });
const effects = (at: number, id: string, n: number): State['effects'] => Object.keys(subscriptions).map((subscription, i) => ({ at: at * 10 + i, subscription, id, source: 'bank', key: 'k', n }));

/** m1, m2, m3 at 10, 20, 30 s; the reminder r1, due at 25 s; r2, taken back at 22 s. */
const history: readonly Line[] = [
  ...[1, 2, 3].flatMap((n) => [line(n * 10_000, { what: 'tried', id: `m${n}`, key: 'k', n }), line(n * 10_000 + 100, { what: 'committed', ids: [`m${n}`] })]),
  ...['r1', 'r2'].flatMap((id) => [line(20_500, { what: 'tried', id, key: 'r', n: 7, dueMs: 25_000 }), line(20_600, { what: 'committed', ids: [id] })]),
  line(22_000, { what: 'taking back', id: 'r2' }),
  line(22_100, { what: 'taken back', id: 'r2' }),
  line(25_100, { what: 'run', id: 'r1', sub: 'shop.reminders', attempt: 1 }),
].sort((a, b) => a.t - b.t);
const state: State = {
  ledger: [...[1, 2, 3].map((n) => row(n, `m${n}`, 'bank.counted.v1', 'k', n)), row(4, 'r1', 'bank.reminded.v1', 'r', 7)],
  counters: [{ key: 'k', n: 3 }],
  effects: [...[1, 2, 3].flatMap((n) => effects(n, `m${n}`, n)), { at: 40, subscription: 'reminders', id: 'r1', source: 'bank', key: 'r', n: 7 }],
  ...{ submitted: [], failures: [], waiting: [], sagas: [], work: [] },
};

const found = (lines: readonly Line[], of: Partial<State> = {}): string[] => judge([...lines].sort((a, b) => a.t - b.t), { ...state, ...of }).violations.map(({ invariant, what, id }) => `${invariant} ${id ?? ''}: ${what}`);
const restored = (sinceMs: number, t: number, more: Partial<Line> = {}): Line => line(t, { what: 'restored', sinceMs, services: ['bank'], ids: [], ...more });
/** The bank without its third message, of which others may have the effects. */
const withoutThird = { ledger: state.ledger.filter(({ id }) => id !== 'm3'), counters: [{ key: 'k', n: 2 }] };
const noneOfThird = state.effects.filter(({ id }) => id !== 'm3');
/** The second was applied after the third. */
const late = [...effects(1, 'm1', 1), ...effects(3, 'm3', 3), ...effects(4, 'm2', 2).filter(({ subscription }) => subscription !== 'latest'), ...state.effects.filter(({ id }) => id === 'r1')];

/** The third is gone, and its number given to another. */
const again = [...history, restored(29_000, 31_000), line(32_000, { what: 'tried', id: 'm4', key: 'k', n: 3 }), line(32_100, { what: 'committed', ids: ['m4'] })];
const withFourth = { ...withoutThird, ledger: [...withoutThird.ledger, row(5, 'm4', 'bank.counted.v1', 'k', 3)], counters: state.counters };
const effectsOfFourth = effects(4, 'm4', 3).filter(({ subscription }) => subscription !== 'latest');

const missing = Object.keys(subscriptions).map((name) => line(50_000, { what: 'missing', sub: `shop.${name}`, ids: ['m2'] }));
const audited = missing.map(({ sub }) => line(51_000, { what: 'audited', sub: sub!, n: 1 }));
const ranLate = Object.keys(subscriptions).map((name) => line(40_000, { what: 'run', sub: `shop.${name}`, id: 'm2', attempt: 1 }));
const deleted = line(15_000, { what: 'deleted', sub: '*', text: 'waybill' });

describe('the judge finds nothing', () => {
  for (const [what, lines, of] of [
    ['where all is right', history, {}],
    ['when what was committed after the backup is gone, and others have its effects', [...history, restored(29_000, 31_000)], withoutThird],
    ['when it is gone everywhere', [...history, restored(29_000, 31_000)], { ...withoutThird, effects: noneOfThird }],
    ['when it is still there', [...history, restored(29_000, 31_000)], {}],
    ['when a version is given again to whom it is stale', again, { ...withFourth, effects: [...state.effects, ...effectsOfFourth] }],
    ['when a restore brings back what was taken back', [...history, restored(21_000, 23_000)], { ledger: [...state.ledger, row(5, 'r2', 'bank.reminded.v1', 'r', 7)], effects: [...state.effects, { at: 41, subscription: 'reminders', id: 'r2', source: 'bank', key: 'r', n: 7 }] }],
    ['when what a deleted queue lost, and nobody had noted as sent, came after later ones', [...history, { ...deleted, t: 25_000 }, ...ranLate], { effects: late }],
    ['when what a deleted queue lost came after later ones', [...history, deleted, ...missing, ...audited], { effects: late }],
  ] as [string, Line[], Partial<State>][]) {
    it(what, () => assert.deepEqual(found(lines, of), []));
  }
});

describe('the judge notices', () => {
  for (const [what, expected, lines, of] of [
    ['a reminder that left although it was taken back', /I16 .*r2 was taken back and left/, history, { ledger: [...state.ledger, row(5, 'r2', 'bank.reminded.v1', 'r', 7)] }],
    ['a reminder that ran although it was taken back', /I2 r2: shop.reminders applied what was never sent/, history, { effects: [...state.effects, { at: 41, subscription: 'reminders', id: 'r2', source: 'bank', key: 'r', n: 7 }] }],
    ['a reminder that came early', /I16 r1: shop.reminders was given it 900 ms before/, history.map((one) => (one.what === 'run' ? { ...one, t: 24_100 } : one)), {}],
    ['a reminder that never came', /I1 r1: its transaction was reported as committed/, history, { ledger: state.ledger.slice(0, 3), effects: state.effects.filter(({ id }) => id !== 'r1') }],
    ['a commit from before the backup that is gone', /I1 m3: its transaction was reported as committed/, [...history, restored(30_200, 31_000)], withoutThird],
    ['a commit since the restore that is gone', /I1 m3: its transaction was reported as committed/, [...history, restored(28_000, 29_000)], withoutThird],
    ['a commit that is gone, when another service was restored', /I1 m3: its transaction was reported as committed/, [...history, restored(29_000, 31_000, { services: ['shop'] })], withoutThird],
    ['a version given again that nobody had applied, and has no effect', /I1 m4: shop.latest has neither its effect nor/, again, { ...withFourth, effects: [...noneOfThird, ...effectsOfFourth] }],
    ['an effect that was lost in a restore of its service', /I1 m3: shop.any has neither its effect nor/, [...history, restored(29_000, 31_000, { services: ['shop'] })], { effects: state.effects.filter(({ id, subscription }) => id !== 'm3' || subscription !== 'any') }],
    ['a doubled effect of what a restore lost', /I3 m3: shop.ordered applied it 2 times/, [...history, restored(29_000, 31_000)], { ...withoutThird, effects: [...state.effects, { ...effects(3, 'm3', 3)[0]!, at: 99 }] }],
    ['another effect of what a restore lost', /I2 m3: shop.any applied something else/, [...history, restored(29_000, 31_000)], { ...withoutThird, effects: state.effects.map((one) => (one.id === 'm3' && one.subscription === 'any' ? { ...one, n: 4 } : one)) }],
    ['what was missing though nothing had been deleted', /I1 m2: shop.any had not taken 1/, [...history, ...missing, ...audited], { effects: late }],
    ['what was missing after another queue had been deleted', /I1 m2: shop.any had not taken 1/, [...history, { ...deleted, sub: 'shop.own' }, ...missing, ...audited], { effects: late }],
    ['what was missing where a restored ledger is read again', /I1 m2: shop.any had not taken 1/, [...history, restored(15_000, 16_000, { services: ['shop'], rereads: true }), ...missing, ...audited], { effects: late }],
    ['what an audit did not tell', /I22 m2: an audit says that 0 messages are lost to shop.own/, [...history, deleted, ...missing], { effects: late }],
    ['a key out of order of which another queue was deleted', /I5 m2: shop.ordered: k 2 was applied after 3/, [...history, { ...deleted, t: 25_000, sub: 'shop.any' }, ...ranLate], { effects: late }],
    ['a key out of order that was published after the deletion', /I5 m2: shop.ordered: k 2 was applied after 3/, [...history, deleted, ...ranLate], { effects: late }],
    ['a key out of order that had run before the deletion', /I5 m2: shop.ordered: k 2 was applied after 3/, [...history, { ...deleted, t: 45_000 }, ...ranLate], { effects: late }],
    ['a key out of order that nothing had lost', /I5 m2: shop.ordered: k 2 was applied after 3/, [...history, deleted], { effects: late }],
  ] as [string, RegExp, Line[], Partial<State>][]) {
    it(what, () => {
      const violations = found(lines, of);
      assert.ok(violations.some((violation) => expected.test(violation)), JSON.stringify(violations));
    });
  }
});
