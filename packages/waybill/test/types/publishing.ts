import { createBus, defineCommand, defineEvent, type Bus, type Published, type SqlTransaction, type TransactionLike } from 'waybill';
import * as z from 'zod';
import { same } from './equal.ts';

const Plain = defineEvent('shop.plain', { schema: z.object({ id: z.string() }) });
const Keyed = defineEvent('shop.keyed', { schema: z.object({ id: z.string() }), key: (event) => event.id });
const Ordered = defineEvent('shop.ordered', { schema: z.object({ id: z.string() }), key: (event) => event.id, sequence: () => 1 });
const Moved = defineEvent('shop.moved', { schema: z.object({ at: z.string().transform((text) => new Date(text)) }) });
const Cancel = defineCommand('shop.cancel', { schema: z.object({ id: z.string() }) });

const bus = createBus({ service: 'shop' });

export async function publishing(): Promise<void> {
  const published = await bus.publish(Plain, { id: '1' }, { id: 'e1', headers: { tenant: 'a' }, delayMs: 5, correlationId: 'c', causationId: 'b' });
  same<typeof published, Published>(true);
  await bus.publish(Plain, { id: '1' }, { deliverAt: new Date(0) });
  await bus.publish(Moved, { at: '2026-01-01' });
  // @ts-expect-error publish takes the schema's input, not its output
  await bus.publish(Moved, { at: new Date() });
  // @ts-expect-error a field too many in a literal
  await bus.publish(Plain, { id: '1', secret: 'x' });
  // @ts-expect-error a field is missing
  await bus.publish(Plain, {});
  // @ts-expect-error units stand in the name: delayMs
  await bus.publish(Plain, { id: '1' }, { delay: 5 });
  // @ts-expect-error headers are text
  await bus.publish(Plain, { id: '1' }, { headers: { attempt: 1 } });

  const all = await bus.publishAll([Plain.of({ id: '1' }), Cancel.of({ id: '1' }, { delayMs: 5 })], { tx: 'own' });
  same<typeof all, Published[]>(true);
  // @ts-expect-error drafts only: their contract is not known otherwise
  await bus.publishAll([{ id: '1' }]);

  const cancelled = await bus.cancel(published.id);
  same<typeof cancelled, boolean>(true);
  const applied = await bus.caughtUp(published.token, { timeoutMs: 5 });
  same<typeof applied, boolean>(true);
  // @ts-expect-error waiting has an end: timeoutMs
  await bus.caughtUp(published.token);
}

export async function transactions(): Promise<void> {
  const count = await bus.transaction(async (tx) => {
    same<typeof tx, SqlTransaction>(true);
    await bus.publish(Plain, { id: '1' }, { tx });
    await bus.lockKey(Keyed, { id: '1' }, { tx });
    await bus.lockKey(Ordered, { id: '1' }, { tx });
    // @ts-expect-error there is no key to lock
    await bus.lockKey(Plain, { id: '1' }, { tx });
    return (await tx.query<{ n: number }>('select 1 as n')).rows.length;
  });
  same<typeof count, number>(true);

  const { result, duplicate } = await bus.once('create', 'user:request', async (tx) => (await tx.query('select 1')).rows.length, { fingerprint: 'f' });
  same<[typeof result, typeof duplicate], [number, boolean]>(true);

  // @ts-expect-error this is no transaction
  await bus.publish(Plain, { id: '1' }, { tx: {} });
  // @ts-expect-error nor is any text but 'own'
  await bus.publish(Plain, { id: '1' }, { tx: 'other' });
  // @ts-expect-error nor is the bus itself
  await bus.publish(Plain, { id: '1' }, { tx: bus });
}

/** The shape of node-postgres' Pool, which the types can tell from its PoolClient. */
interface PoolShape extends SqlTransaction {
  readonly totalCount: number;
}
export async function rootClients(pool: PoolShape, client: SqlTransaction): Promise<void> {
  await bus.publish(Plain, { id: '1' }, { tx: client });
  // @ts-expect-error a root client is no transaction
  await bus.publish(Plain, { id: '1' }, { tx: pool });
  const like: TransactionLike = client;
  await bus.publish(Plain, { id: '1' }, { tx: like });
}

/** A function that only publishes takes any bus: `Bus` is covariant. */
export async function onlyPublishes(anyBus: Bus): Promise<void> {
  await anyBus.publish(Plain, { id: '1' });
}
onlyPublishes(bus);
const buses: readonly Bus[] = [bus, createBus({ service: 'other', store: 'sqlite:other.db', transport: 'memory:', relay: 'worker' })];
// @ts-expect-error a bus of unknown transactions is none of SQL
const sql: Bus<SqlTransaction> = buses[0]!;

export async function disposed(): Promise<void> {
  await using short = createBus({ service: 'short' });
  await short.start();
}

// @ts-expect-error a bus has a service
createBus({});
// @ts-expect-error there is no such relay
createBus({ service: 's', relay: 'magic' });
// @ts-expect-error a store is a factory's or a URL
createBus({ service: 's', store: 5 });
