/** Every interleaving of a small saga: messages in any order, twice, late; a timeout; deaths of the process; a compensation that fails. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StorePorts, StoreSession } from '../../src/contract/store.ts';
import { types, type Sabotage, type Scenario } from './model.ts';
import { scenarios, search } from './search.ts';

const named = ({ stock, payment, twice, submittedAgain }: Scenario): string =>
  [`stock ${stock}`, `payment ${payment}`, ...(twice.length > 0 ? ['messages twice'] : []), ...(submittedAgain ? ['submitted again'] : [])].join(', ');

/** Not all: `npm run saga-model` searches every combination, with two deaths and two failures. */
const some = [
  ...scenarios().filter(({ stock, payment }) => stock !== 'early' && payment !== 'failed'),
  ...scenarios({ twice: Object.values(types), crashes: 0 }).filter(({ stock, payment }) => stock === 'early' && payment === 'declined'),
  ...scenarios({ submittedAgain: true, crashes: 0 }).filter(({ stock, payment }) => stock === 'done' && payment === 'approved'),
];

describe('every interleaving of a small saga ends completed or compensated', () => {
  for (const scenario of some) {
    it(named(scenario), async (t) => {
      const { states, ends, broken } = await search(scenario);
      assert.equal(broken, undefined);
      t.diagnostic(`${states} states, ends: ${JSON.stringify(ends)}`);
      assert.ok(states > 10);
    });
  }
});

/** A store with other ports. */
const instead = (change: (ports: StorePorts) => Partial<StorePorts>): Sabotage => (session) => {
  const ports = { ...session.ports, ...change(session.ports) };
  return new Proxy(session, { get: (target, name) => (name === 'ports' ? ports : Reflect.get(target, name)) as unknown }) as StoreSession;
};

describe('the search notices', () => {
  const richest = { stock: 'done', payment: 'declined', twice: [types.Reserved], submittedAgain: true, crashes: 0, failures: 0 } as const;
  const sabotages: readonly (readonly [what: string, Sabotage])[] = [
    ['timeouts that come early', instead(({ waiting }) => ({ waiting: { ...waiting, due: (of, at, ...more) => waiting.due(of, Number(at) + 60_000, ...more) } }))],
    ['an inbox that takes a message twice', instead(({ inbox }) => ({ inbox: { ...inbox, insert: async (_tx, _name, keys) => keys.map(() => true) } }))],
    ['ended sagas without tombstone', instead(({ sagas }) => ({
      sagas: { ...sagas!, load: async (...of) => { const row = await sagas!.load(...of); return row?.status === 'compensated' ? undefined : row; },
        save: async (tx, row) => { const there = await sagas!.load(tx, row.saga, row.key); return sagas!.save(tx, { ...row, revision: (there?.revision ?? 0) + 1 }); } },
    }))],
    ['a ledger that forgets what is undone', instead(({ sagas }) => ({
      sagas: { ...sagas!, save: (tx, row) => sagas!.save(tx, { ...row, ledger: row.ledger.replace('"payment","undone":true', '"payment","undone":false') }) },
    }))],
  ]; // prettier-ignore
  for (const [what, sabotage] of sabotages) {
    it(what, async (t) => {
      const { broken } = await search(richest, sabotage);
      assert.ok(broken !== undefined, 'nothing was noticed');
      t.diagnostic(`${broken.why} after ${broken.path.join(', ')}`);
    });
  }
});
