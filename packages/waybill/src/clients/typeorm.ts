/**
 * TypeORM: a DataSource as root; the EntityManager of `dataSource.transaction`, or a QueryRunner after `startTransaction`,
 * as transaction. `dataSource.manager` and repositories made from it are not in a transaction.
 */
import { attempt } from './client/attempt.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlOf } from './client/statements.ts';

interface QueryRunner {
  readonly isTransactionActive: boolean;
  readonly isReleased: boolean;
  /** @param structured or else the answer's form depends on the statement */
  query(text: string, values: readonly (string | null)[], structured: true): Promise<{ readonly records?: readonly object[]; readonly affected?: number }>;
  release(): Promise<void>;
}

interface EntityManager {
  readonly queryRunner?: QueryRunner;
}

interface DataSource {
  createQueryRunner(): QueryRunner;
  transaction<R>(isolation: 'READ COMMITTED', work: (manager: Required<EntityManager>) => Promise<R>): Promise<R>;
}

const library = 'TypeORM';
const advice = 'pass the manager that `dataSource.transaction(async (manager) => …)` hands out, or use `bus.transaction`';

export const typeorm: Adapter = {
  library,
  advice,
  client: (root) => (isDataSource(root) ? clientOf(root) : undefined),
  transaction(native) {
    if (isQueryRunner(native)) return joined(handleOf(native, native));
    return isManager(native) ? joined(handleOf(native, native.queryRunner)) : undefined;
  },
};

function isDataSource(root: object): root is DataSource {
  const { createQueryRunner, transaction, isInitialized } = root as Record<string, unknown>;
  return typeof createQueryRunner === 'function' && typeof transaction === 'function' && typeof isInitialized === 'boolean';
}

function isQueryRunner(native: object): native is QueryRunner {
  const { query, startTransaction, isTransactionActive } = native as Record<string, unknown>;
  return typeof query === 'function' && typeof startTransaction === 'function' && typeof isTransactionActive === 'boolean';
}

function isManager(native: object): native is EntityManager {
  const { query, getRepository, transaction, getTreeRepository } = native as Record<string, unknown>;
  return [query, getRepository, transaction, getTreeRepository].every((member) => typeof member === 'function');
}

function clientOf(source: DataSource): Client<EntityManager> {
  return {
    library,
    ...sqlOf({
      rows: (text, values) => using(source, async (runner) => (await runner.query(text, values, true)).records ?? []),
      count: (text, values) => using(source, async (runner) => (await runner.query(text, values, true)).affected ?? 0),
    }),
    transaction: (work) =>
      attempt({ library, run: (body) => source.transaction('READ COMMITTED', (manager) => body(handleOf(manager, manager.queryRunner))) }, work),
  };
}

async function using<R>(source: DataSource, work: (runner: QueryRunner) => Promise<R>): Promise<R> {
  const runner = source.createQueryRunner();
  try {
    return await work(runner);
  } finally {
    await runner.release();
  }
}

function handleOf<Tx>(native: Tx, runner: QueryRunner | undefined): Handle<Tx> {
  return {
    library,
    advice,
    native,
    sql: runner === undefined ? never : statements(runner),
    state: () => (runner?.isTransactionActive !== true ? 'over' : runner.isReleased ? 'lost' : 'open'), // released in the middle: it broke
  };
}

/** `dataSource.manager`: `state` has refused it before. */
const never: Sql = { query: () => Promise.resolve([]), execute: () => Promise.resolve(0) };

function statements(runner: QueryRunner): Sql {
  return sqlOf({
    rows: async (text, values) => (await runner.query(text, values, true)).records ?? [],
    count: async (text, values) => (await runner.query(text, values, true)).affected ?? 0,
  });
}
