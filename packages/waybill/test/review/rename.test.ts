/** A rolling deployment that renames a subscription. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createBus } from 'waybill';
import { sqlite } from 'waybill/transports/sqlite';
import { Noted } from '../support/contracts.ts';
import { embedded, folder, quiet, signal } from './support.ts';

it('carries over what the older instance applies until the moment it is relieved', async (t) => {
  const directory = folder(t);
  const older = embedded(t, 'desk', directory);
  await older.transaction((tx) => tx.query('create table effect (text text, by text)'));
  const running = { first: signal(), second: signal() };
  const gates = { first: signal(), second: signal() };
  older.subscribe(Noted, { name: 'old', transaction: 'own' }, async ({ text }, ctx) => {
    running[text as 'first'].give();
    await gates[text as 'first'].come;
    await ctx.tx.query('insert into effect values ($1, $2)', [text, 'older']);
  });
  const byOlder = signal();
  older.on('applied', () => byOlder.give());
  await older.start();
  await older.publishAll([Noted.of({ text: 'first' }), Noted.of({ text: 'second' })]);
  await Promise.all([running.first.come, running.second.come]);

  // The newer instance is on its way to declare; the older one settles the second message, beyond the first.
  const real = sqlite(directory);
  const transport = {
    kind: 'sqlite',
    async connect(host: Parameters<typeof real.connect>[0]) {
      const session = await real.connect(host);
      const declare = session.declare.bind(session);
      session.declare = async (declaration) => {
        gates.second.give();
        await byOlder.come;
        await declare(declaration);
      };
      return session;
    },
  };
  const newer = createBus({ service: 'desk', store: `sqlite:${directory}/desk.db`, transport, logger: quiet });
  t.after(() => newer.stop({ drainMs: 0 }));
  const done = signal();
  let seen = 0;
  for (const name of ['applied', 'duplicate'] as const) newer.on(name, () => ++seen === 2 && done.give());
  newer.subscribe(Noted, { name: 'new', formerly: ['old'], transaction: 'own' }, async ({ text }, ctx) => {
    await ctx.tx.query('insert into effect values ($1, $2)', [text, 'newer']);
  });
  await newer.start();
  await done.come;
  gates.first.give();
  const { rows } = await newer.transaction((tx) => tx.query('select text, by from effect order by text'));
  assert.deepEqual(rows, [{ text: 'first', by: 'newer' }, { text: 'second', by: 'older' }]);
});
