/** A subscription that is renamed more than once: what was applied under any of its names is never applied again. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { operations } from 'waybill/operations';
import { createTestBus, type TestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { memory as memoryStore } from '../src/stores/memory/index.ts';
import { Noted, Seen } from './support/contracts.ts';
import { folder } from './sqlite/support.ts';

const stores = {
  memory: () => memoryStore(),
  sqlite: (t: Parameters<typeof folder>[0]) => `sqlite:${folder(t)}/desk.db`,
} as const;

for (const [kind, storeOf] of Object.entries(stores)) {
  describe(`renamed from a to b to c, ${kind}`, () => {
    const world = (t: Parameters<typeof folder>[0]) => {
      const transport = memory();
      const store = storeOf(t) as never;
      const seen: string[] = [];
      const open: TestBus<any>[] = [];
      const bus = (service: string, of: object): TestBus<any> => {
        const made = createTestBus({ service, transport, ...of });
        t.after(() => made.stop());
        open.push(made);
        return made;
      };
      const catalog = bus('catalog', {});
      return {
        catalog,
        seen,
        desk(name: string, formerly: readonly string[]) {
          const desk = bus('desk', { store });
          desk.subscribe(Noted, { name, formerly: [...formerly] }, ({ text }, ctx) => ctx.afterCommit(() => void seen.push(`${name} ${text}`)));
          return desk;
        },
        async sendAgain() {
          await catalog.advance(10); // what was published in this moment is not before it
          assert.ok((await operations(catalog).outbox.republish({ types: [Noted.type] })) > 0);
          await catalog.settled();
        },
      };
    };

    for (const formerly of [['b'], ['a', 'b'], ['b', 'a'], ['a']]) {
      it(`with formerly: ${JSON.stringify(formerly)} takes nothing twice, also beside an instance that still has the first name`, async (t) => {
        const { catalog, seen, desk, sendAgain } = world(t);
        const first = desk('a', []);
        await first.settled();
        await catalog.publish(Noted, { text: '1' });
        await catalog.settled();
        await first.stop();
        await catalog.publish(Noted, { text: '2' });
        const second = desk('b', ['a']);
        await second.settled();
        await catalog.publish(Noted, { text: '3' });
        await catalog.settled();
        await second.stop();
        await catalog.publish(Noted, { text: '4' });
        const third = desk('c', formerly);
        await third.settled();
        assert.deepEqual(seen, ['a 1', 'b 2', 'b 3', 'c 4']);
        await sendAgain();
        assert.deepEqual(seen, ['a 1', 'b 2', 'b 3', 'c 4'], 'all of them came again');
        assert.equal(third.history().filter(({ signal }) => signal === 'duplicate').length, 4);

        const old = desk('a', []);
        await old.settled();
        await catalog.publish(Noted, { text: '5' });
        await catalog.settled();
        await sendAgain();
        assert.deepEqual(seen.slice(0, 4), ['a 1', 'b 2', 'b 3', 'c 4']);
        assert.deepEqual(seen.slice(4).map((one) => one.slice(2)), ['5'], 'once, by whichever came first');
        assert.deepEqual([...(await third.failures()), ...(await old.failures())], []);
      });
    }

    it('and back to a takes nothing twice', async (t) => {
      const { catalog, seen, desk, sendAgain } = world(t);
      for (const [name, formerly] of [['a', []], ['b', ['a']], ['a', ['b']], ['c', ['a']]] as const) {
        const one = desk(name, formerly);
        await one.settled();
        await catalog.publish(Noted, { text: name });
        await catalog.settled();
        await sendAgain();
        await one.stop();
      }
      assert.deepEqual(seen, ['a a', 'b b', 'a a', 'c c']);
    });

    it('a name that another subscription of the code has by now is left to that', async (t) => {
      const { catalog, seen, desk, sendAgain } = world(t);
      await desk('a', []).settled();
      const first = desk('b', ['a']);
      await first.settled();
      await catalog.publish(Noted, { text: '1' });
      await catalog.settled();
      await first.stop();
      const both = desk('b', []);
      both.subscribe(Seen, { name: 'c', formerly: ['a'] }, () => void seen.push('c'));
      await both.settled();
      await sendAgain();
      await catalog.publish(Noted, { text: '2' });
      await catalog.settled();
      assert.deepEqual(seen, ['b 1', 'b 2']);
    });
  });
}
