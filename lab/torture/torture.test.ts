import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { tell } from 'waybill/testing';
import { needs } from '../../test/support/needs.ts';
import type { Pair } from './ground.ts';
import { judge } from './judge.ts';
import { createRandom } from './random.ts';
import { torture, type TortureReport } from './run.ts';
import type { State } from './state.ts';

const short = { seconds: 8, freezeMaxMs: 4_000, small: true };
const servers = needs('rabbitmq').skip || needs('postgres').skip;

type Writable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? { -readonly [P in keyof E]: E[P] }[] : T[K] };
type Plant = (state: Writable<State>) => Writable<State>;

function firstOrdered({ effects }: Pick<State, 'effects'>): State['effects'][number] {
  return effects.find(({ subscription }) => subscription === 'ordered')!;
}

/** Violations, by the invariant that must be named. */
const planted: readonly (readonly [invariant: string, what: string, plant: Plant])[] = [
  ['I1', 'a lost effect', (state) => ({ ...state, effects: state.effects.filter((effect) => effect !== firstOrdered(state)) })],
  ['I1', 'a commit that was acknowledged and is gone', (state) => ({ ...state, ledger: state.ledger.filter(({ service }, i) => service !== 'bank' || i > 0) })],
  ['I2', 'an effect of a message that nobody sent', (state) => ({ ...state, effects: [...state.effects, { ...state.effects[0]!, at: 1e9, id: 'nobody' }] })],
  ['I2', 'a message that nobody published', (state) => ({ ...state, ledger: [...state.ledger, { ...state.ledger.find(({ service }) => service === 'bank')!, id: 'nobody', position: 1e9 }] })],
  ['I2', 'an effect of other bytes', (state) => ({ ...state, effects: state.effects.map((effect, i) => (i === 0 ? { ...effect, n: effect.n + 1_000 } : effect)) })],
  ['I3', 'a doubled effect', (state) => ({ ...state, effects: [...state.effects, { ...state.effects[0]!, at: 1e9 }] })],
  ['I3', 'a step of an order that took effect twice', (state) => ({ ...state, sagas: state.sagas.map((saga) => ({ ...saga, state: JSON.stringify({ ...JSON.parse(saga.state), steps: ['a', 'a'] }) })) })],
  ['I4', 'a counter without its event', (state) => ({ ...state, counters: state.counters.map((row) => ({ ...row, n: row.n + 1 })) })],
  ['I5', 'effects of a key that changed places', (state) => ({ ...state, effects: state.effects.map((effect) => (effect.subscription === 'ordered' ? { ...effect, at: 1e9 - effect.at } : effect)) })],
  ['I6', 'a version that went back', (state) => ({ ...state, effects: state.effects.map((effect) => (effect.subscription === 'latest' ? { ...effect, at: 1e9 - effect.at } : effect)) })],
  ['I10', 'a dead letter of other bytes', (state) => withDead(state, { body: '{"key":"another","n":25}' })],
  ['I11', 'an innocent message in failures', (state) => withDead(state, { subscription: 'shop.ordered' }, 25)],
  ['I15', 'an order that never ended', (state) => ({ ...state, sagas: state.sagas.map((saga) => ({ ...saga, status: 'undoing' })) })],
  ['I15', 'something that was left of an order', (state) => ({ ...state, work: state.work.map((row) => ({ ...row, undone: row.undone + 1 })) })],
  ['I16', 'a timeout that came early', (state) => ({ ...state, sagas: state.sagas.map((saga) => ({ ...saga, state: JSON.stringify({ ...JSON.parse(saga.state), setMs: 1e6, firedMs: 0 }) })) })],
  ['I16', 'a timeout that ran after it was taken back', (state) => ({ ...state, sagas: state.sagas.map((saga) => ({ ...saga, state: JSON.stringify({ ...JSON.parse(saga.state), firedMs: 1e15, takenBack: true }) })) })],
  ['I18', 'a message that waits for ever', (state) => ({ ...state, waiting: [...state.waiting, { service: 'shop', subscription: 'shop.own', id: 'left', reason: 'retry' }] })],
];

/** One of the bank's messages is dead; its value made one that the subscription `poison` cannot take. */
function withDead(state: Writable<State>, more: object, n = 25): Writable<State> {
  const victim = state.ledger.find(({ type }) => type === 'bank.counted.v1')!;
  const body = JSON.stringify({ ...(JSON.parse(victim.body) as object), n });
  const { id, type } = victim;
  return {
    ...state,
    ledger: state.ledger.map((row) => (row === victim ? { ...row, body } : row)),
    effects: state.effects.filter((effect) => effect.id !== id),
    failures: [...state.failures, { service: 'shop', subscription: 'shop.poison', id, source: 'bank', type, code: 'POISON', attempts: 1, body, ...more }],
  };
}

for (const [pair, skip] of [
  [{ store: 'sqlite', transport: 'sqlite' }, false],
  [{ store: 'postgres', transport: 'rabbitmq' }, servers],
] as [Pair, boolean | string][]) {
  describe(`a few seconds of torture over ${pair.store} and ${pair.transport}`, { skip }, () => {
    let folder: string;
    let report: TortureReport;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'waybill-torture-'));
      report = await torture({ ...short, pair, folder, random: createRandom(5) });
    });
    after(() => rm(folder, { recursive: true, force: true }));

    it('lose, double, invent, reorder and leave nothing, and every order ends', (t) => {
      const { violations, faults, deaths, published, orders, drainMs, troubles } = report;
      t.diagnostic(JSON.stringify({ faults, deaths, published, orders, drainMs }));
      assert.deepEqual(violations, [], JSON.stringify(troubles));
      assert.ok(Object.keys(faults).length >= 2 && deaths > 0, JSON.stringify({ faults, deaths })); // how many kinds come in so short a time is chance
      assert.ok(published > 20, `only ${published} messages`);
      assert.ok(orders > 0);
    });

    for (const [invariant, what, plant] of planted) {
      it(`the judge notices ${what}`, () => {
        const changed = plant(structuredClone(report.state) as Writable<State>);
        const { violations } = judge(report.history, changed);
        assert.ok(violations.some((violation) => violation.invariant === invariant), `found only ${JSON.stringify(violations.slice(0, 3))}`);
      });
    }

    it('a violation is told with the story of its message', () => {
      const { state, history } = report;
      const lost = firstOrdered(state);
      const { violations, story } = judge(history, { ...state, effects: state.effects.filter((effect) => effect !== lost) });
      const text = tell(violations[0]!, story);
      assert.match(text, new RegExp(`I1 no loss.*\\n.*${lost.id}: shop\\.ordered`));
      assert.match(text, /bank \d#1\s+tried k\d+ \d+/);
      assert.match(text, /bank \d#1\s+committed/);
    });
  });
}
