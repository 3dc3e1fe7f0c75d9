/** Keeps the bank's books: every movement in its order, balances, sums over batches, the newest version, and notes. */
import { createBus } from 'waybill';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { Moved, Note } from './contracts.ts';
import { chance, live, logger, record, role } from './life.ts';

const retry = { immediate: 1, delayed: 60, delayMs: 20, delayMaxMs: 300 };
const mishap = (): void => {
  if (chance(role.selfKill)) process.kill(process.pid, 'SIGKILL');
  if (chance(role.throws)) throw new Error('now and then');
};

const bus = createBus({ service: 'books', store: role.store, transport: rabbitmq(role.transport), logger });
bus.on('failed', ({ id, subscription, error }) => record({ what: 'failed', id, sub: subscription, text: String(error).slice(0, 200) }));

bus.subscribe(Moved, { name: 'statement', order: 'by-key', retry }, async ({ account, version, amount }, { tx, message }) => {
  await tx.query('insert into statement (id, account, version, amount) values ($1, $2, $3, $4)', [message.id, account, version, amount]);
  mishap();
  await tx.query('insert into booked values ($1, $2, $3) on conflict (account) do update set version = excluded.version, balance = booked.balance + excluded.balance', [account, version, amount]);
});
bus.subscribeBatch(Moved, { name: 'tally', batch: 200, retry }, async (events, { tx }) => {
  await tx.query(
    `insert into tally select account, count(*), sum(amount) from json_to_recordset($1) as moved (account text, amount int) group by account order by account
     on conflict (account) do update set n = tally.n + excluded.n, amount = tally.amount + excluded.amount`,
    [JSON.stringify(events)],
  );
  mishap();
});
bus.subscribe(Moved, { name: 'current', order: 'latest', retry }, async ({ account, version }, { tx }) => {
  await tx.query('insert into current values ($1, $2) on conflict (account) do update set version = excluded.version', [account, version]);
  mishap();
});
bus.handle(Note, { retry, transaction: 'own' }, async ({ account, version }, { tx, message }) => {
  await tx.query('insert into note values ($1, $2, $3)', [message.id, account, version]);
  mishap();
});

await live(bus);
