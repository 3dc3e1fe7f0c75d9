/**
 * Prisma 7 with `@prisma/adapter-pg`: a PrismaClient as root, extended or not; the client of an interactive transaction
 * as transaction (`$transaction(async (tx) => …)`; in the batch form there is nothing to join).
 *
 * Prisma ends a transaction that runs longer than its `timeout`, 5 s by default. Waybill bounds its handlers itself
 * (`timeoutMs`), so its own transactions get as long as Prisma's timers go; a user's own keep what the user said.
 */
import { attempt } from './client/attempt.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlOf } from './client/statements.ts';

interface Transaction {
  $queryRawUnsafe(text: string, ...values: readonly (string | null)[]): Promise<object[]>;
  $executeRawUnsafe(text: string, ...values: readonly (string | null)[]): Promise<number>;
}

interface Root extends Transaction {
  $transaction<R>(work: (tx: Transaction) => Promise<R>, options: { isolationLevel: string; maxWait: number; timeout: number }): Promise<R>;
}

const library = 'Prisma';
const advice = 'pass what `prisma.$transaction(async (tx) => …)` hands out, or use `bus.transaction`';

/** For a free connection; with 2 s, Prisma's default, a busy moment of a small pool would be an error. */
const connectionMaxWaitMs = 10_000;
/** The longest that a timer can be. */
const timeoutMs = 2 ** 31 - 1;

export const prisma: Adapter = {
  library,
  advice,
  client: (root) => (isPrisma(root) && isRoot(root) ? clientOf(root) : undefined),
  transaction: (native) => (isPrisma(native) && !isRoot(native) ? joined(handleOf(native)) : undefined),
};

function isPrisma(value: object): value is Transaction {
  const { $queryRawUnsafe, $executeRawUnsafe } = value as Record<string, unknown>;
  return typeof $queryRawUnsafe === 'function' && typeof $executeRawUnsafe === 'function';
}

function isRoot(value: object): value is Root {
  return '$connect' in value;
}

function clientOf(client: Root): Client<Transaction> {
  const options = { isolationLevel: 'ReadCommitted', maxWait: connectionMaxWaitMs, timeout: timeoutMs };
  return {
    library,
    ...statements(client),
    transaction: (work) => attempt({ library, run: (body) => client.$transaction((tx) => body(handleOf(tx)), options) }, work),
  };
}

function handleOf(tx: Transaction): Handle<Transaction> {
  return { library, advice, native: tx, sql: statements(tx), state: () => 'open', isOver };
}

/** P2028: a statement of a transaction that is closed, rolled back or timed out. */
function isOver(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === 'P2028';
}

function statements(client: Transaction): Sql {
  return sqlOf({
    rows: (text, values) => client.$queryRawUnsafe(text, ...values),
    count: (text, values) => client.$executeRawUnsafe(text, ...values),
  });
}
