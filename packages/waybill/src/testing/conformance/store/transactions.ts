/** Transactions: all or nothing, one view, and what hangs on their ends. */
import assert from 'node:assert/strict';
import { WaybillError } from '../../../contract/errors.ts';
import { held, message, prices, turns, undone, within, type StoreCase } from './world.ts';

const a = { source: 'catalog', id: 'a' };
const b = { source: 'catalog', id: 'b' };

export const transactionCases: readonly StoreCase[] = [
  {
    name: 'what a transaction wrote is there when it has ended, and it gives what its work gave',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const result = await session.transaction(async (tx) => {
        await inbox.insert(tx, prices, [a]);
        return 'result';
      });
      assert.equal(result, 'result');
      assert.equal(await inbox.has(prices, a), true);
    },
  },
  {
    name: 'a transaction that throws leaves nothing, and throws what its work threw',
    async run(world) {
      const session = await world.open();
      const { inbox, outbox, inspect } = session.ports;
      const thrown = new Error('from the work');
      const transaction = session.transaction(async (tx) => {
        await inbox.insert(tx, prices, [a]);
        await outbox.append(tx, [message('a')]);
        throw thrown;
      });
      await assert.rejects(transaction, (error) => error === thrown);
      assert.equal(await inbox.has(prices, a), false);
      assert.deepEqual(await inspect.outbox({}), []);
    },
  },
  {
    name: 'a reader never sees what is not committed',
    async run(world) {
      const session = await world.open();
      const { inbox, waiting, inspect } = session.ports;
      const reads = await undone(session, async (tx) => {
        await inbox.insert(tx, prices, [a]);
        await waiting.add(tx, [{ subscription: prices, message: message('a'), dueMs: 0, attempt: 1, attempts: 2, firstFailedMs: 0, error: undefined, reason: 'retry', inOrder: false }]); // prettier-ignore
        // Not awaited in here: where there is one connection, readers wait for its transaction.
        const begun = [inbox.has(prices, a), inspect.counts(), waiting.due(prices, 1, 10)] as const;
        await turns(world);
        return { begun };
      });
      const [has, counts, due] = await Promise.all(reads.begun);
      assert.deepEqual([has, counts.waiting, due.rows], [false, 0, []]);
    },
  },
  {
    name: 'another session sees a transaction once it is committed, and not before',
    needs: ['sessions'],
    async run(world) {
      const [one, two] = [await world.open(), await world.open()];
      const open = held(one, (tx) => one.ports.inbox.insert(tx, prices, [a]));
      await open.worked;
      assert.equal(await two.ports.inbox.has(prices, a), false);
      await open.end('commit');
      assert.equal(await two.ports.inbox.has(prices, a), true);
    },
  },
  {
    name: 'a savepoint that throws undoes its own writes and no others',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const thrown = new Error('from the savepoint');
      await session.transaction(async (tx) => {
        await inbox.insert(tx, prices, [{ source: 'catalog', id: 'before' }]);
        const savepoint = tx.savepoint(async () => {
          await inbox.insert(tx, prices, [a]);
          throw thrown;
        });
        await assert.rejects(savepoint, (error) => error === thrown);
        assert.equal(await tx.savepoint(async () => (await inbox.insert(tx, prices, [b])).length), 1);
      });
      assert.equal(await inbox.has(prices, { source: 'catalog', id: 'before' }), true, 'before it');
      assert.equal(await inbox.has(prices, a), false, 'inside it');
      assert.equal(await inbox.has(prices, b), true, 'after it');
    },
  },
  {
    name: 'savepoints nest: an outer one takes its inner ones along',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      await session.transaction(async (tx) => {
        const outer = tx.savepoint(async () => {
          await tx.savepoint(() => inbox.insert(tx, prices, [a]));
          throw new Error('outer');
        });
        await assert.rejects(outer, /outer/);
        await tx.savepoint(async () => {
          await inbox.insert(tx, prices, [b]);
          const inner = tx.savepoint(async () => {
            await inbox.insert(tx, prices, [a]);
            throw new Error('inner');
          });
          await assert.rejects(inner, /inner/);
        });
      });
      assert.deepEqual([await inbox.has(prices, a), await inbox.has(prices, b)], [false, true]);
    },
  },
  {
    name: 'a lazy transaction holds nothing until its first statement',
    needs: ['lazy'],
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const gate = Promise.withResolvers<void>();
      const lazy = session.transaction(
        async (tx) => {
          await gate.promise;
          await inbox.insert(tx, prices, [a]);
        },
        { lazy: true },
      );
      const other = session.transaction((tx) => inbox.insert(tx, prices, [b]));
      await within(world, other, 'another transaction was to go ahead');
      gate.resolve();
      await lazy;
      assert.deepEqual([await inbox.has(prices, a), await inbox.has(prices, b)], [true, true]);
    },
  },
  {
    name: 'onBegin runs once, in the transaction, before the statement that began it',
    needs: ['lazy'],
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      let begun = 0;
      const [first, second] = await session.transaction(
        async (tx) => {
          assert.equal(begun, 0, 'begun before any statement');
          return [await inbox.insert(tx, prices, [a]), await inbox.insert(tx, prices, [b])];
        },
        {
          lazy: true,
          async onBegin(tx) {
            begun++;
            await inbox.insert(tx, prices, [a]);
          },
        },
      );
      assert.deepEqual({ begun, first, second }, { begun: 1, first: [false], second: [true] });
    },
  },
  {
    name: 'when onBegin throws the statement does too, and nothing is committed even if the work goes on',
    needs: ['lazy'],
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const thrown = new Error('the fence');
      let statement: unknown;
      const transaction = session.transaction(
        async (tx) => {
          const insert = async (): Promise<unknown> => inbox.insert(tx, prices, [a]);
          statement = await insert().catch((error: unknown) => error);
          await insert().catch(() => {});
        },
        {
          lazy: true,
          onBegin: () => {
            throw thrown;
          },
        },
      );
      await assert.rejects(transaction);
      assert.equal(statement, thrown);
      assert.equal(await inbox.has(prices, a), false);
    },
  },
  {
    name: 'a lazy transaction without a statement begins nothing',
    needs: ['lazy'],
    async run(world) {
      const session = await world.open();
      let begun = false;
      const result = await session.transaction(() => 'result', { lazy: true, onBegin: () => void (begun = true) });
      assert.deepEqual([result, begun], ['result', false]);
    },
  },
  {
    name: 'what onBegin wrote stays when the savepoint around the first statement is undone',
    needs: ['lazy'],
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      await session.transaction(
        async (tx) => {
          const savepoint = tx.savepoint(async () => {
            await inbox.insert(tx, prices, [a]);
            throw new Error('undo');
          });
          await assert.rejects(savepoint, /undo/);
        },
        { lazy: true, onBegin: async (tx) => void (await inbox.insert(tx, prices, [b])) },
      );
      assert.deepEqual([await inbox.has(prices, a), await inbox.has(prices, b)], [false, true]);
    },
  },
  {
    name: 'afterCommit runs when the commit is done, in order, and never after a rollback',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const ran: string[] = [];
      let seen: Promise<boolean> | undefined;
      await session.transaction(async (tx) => {
        tx.afterCommit(() => {
          ran.push('first');
          seen = inbox.has(prices, a);
        });
        tx.afterCommit(() => ran.push('second'));
        await inbox.insert(tx, prices, [a]);
        assert.deepEqual(ran, [], 'before the commit');
      });
      assert.deepEqual(ran, ['first', 'second']);
      assert.equal(await seen, true, 'what it was to see');
      await undone(session, (tx) => tx.afterCommit(() => ran.push('undone')));
      await turns(world);
      assert.deepEqual(ran, ['first', 'second']);
    },
  },
  {
    name: 'what a savepoint undid runs nothing after the commit',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const ran: string[] = [];
      await session.transaction(async (tx) => {
        tx.afterCommit(() => ran.push('kept'));
        const savepoint = tx.savepoint(async () => {
          await inbox.insert(tx, prices, [a]);
          tx.afterCommit(() => ran.push('undone'));
          throw new Error('undo');
        });
        await assert.rejects(savepoint, /undo/);
        await inbox.insert(tx, prices, [b]);
      });
      assert.deepEqual(ran, ['kept']);
    },
  },
  {
    name: 'an afterCommit that throws harms nobody, and is reported',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const thrown = new Error('from afterCommit');
      let ran = false;
      const transaction = session.transaction(async (tx) => {
        tx.afterCommit(() => {
          throw thrown;
        });
        tx.afterCommit(() => (ran = true));
        await inbox.insert(tx, prices, [a]);
      });
      await assert.doesNotReject(transaction);
      assert.equal(ran, true, 'the next one ran');
      assert.equal(await inbox.has(prices, a), true);
      const reported = world.reports.some(({ detail }) => Object.values(detail as object).includes(thrown));
      assert.ok(reported, 'was to be reported as a signal or to the log');
    },
  },
  {
    name: 'transactions at once all take effect, each as a whole',
    async run(world) {
      const session = await world.open();
      const { outbox, inspect } = session.ports;
      const pairs = Array.from({ length: 20 }, (_, i) => [message(`${i}.1`), message(`${i}.2`)]);
      await Promise.all(
        pairs.map((pair) =>
          session.transaction(async (tx) => {
            await outbox.append(tx, pair.slice(0, 1));
            await world.clock.turn();
            await outbox.append(tx, pair.slice(1));
          }),
        ),
      );
      const ids = (await inspect.outbox({})).map(({ id }) => id);
      assert.equal(ids.length, 40);
      assert.deepEqual(new Set(ids), new Set(pairs.flat().map(({ id }) => id)));
    },
  },
  {
    name: 'transactions of several sessions at once all take effect',
    needs: ['sessions'],
    async run(world) {
      const sessions = [await world.open(), await world.open(), await world.open()];
      const sent = Array.from({ length: 15 }, (_, i) => message(`${i}`));
      await Promise.all(
        sent.map((one, i) => {
          const { transaction, ports } = sessions[i % 3]!;
          return transaction((tx) => ports.outbox.append(tx, [one]));
        }),
      );
      const ids = (await sessions[0]!.ports.inspect.outbox({})).map(({ id }) => id);
      assert.deepEqual(new Set(ids), new Set(sent.map(({ id }) => id)));
    },
  },
  {
    name: 'a transaction that cannot have its turn gives up with STORE_BUSY, and may be run again',
    needs: ['hurry'],
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const open = held(session, (tx) => inbox.insert(tx, prices, [a]));
      await open.worked;
      let failed: unknown;
      const waiting = session.transaction((tx) => inbox.insert(tx, prices, [a])).catch((error: unknown) => (failed = error));
      for (let minute = 0; minute < 5 && failed === undefined; minute++) {
        await turns(world);
        await world.pass(60_000);
        await turns(world);
      }
      assert.ok(WaybillError.is(failed, 'STORE_BUSY'), `after five minutes: ${String(failed)}`);
      assert.equal(session.classify(failed), 'retry');
      await open.end('rollback');
      await waiting;
      assert.deepEqual(await session.transaction((tx) => inbox.insert(tx, prices, [a])), [true]);
    },
  },
];
