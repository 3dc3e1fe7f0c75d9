/**
 * The types of nine libraries by shape, so that no declaration names one. Order matters: a library stands before those
 * whose shape it also has. Of overloaded methods the compiler infers the last overload, hence a case for each.
 */

/** The transaction type of a client; never when the client is not supported. */
export type TransactionOf<C> = C extends { $transaction: (...a: infer A) => any; $connect: any }
  ? PrismaTransaction<A>
  : C extends { begin: (...a: infer A) => any; unsafe: any } // postgres.js
    ? LastCallback<A>
    : C extends { readonly em: infer M extends { transactional: any } } // MikroORM
      ? M
      : C extends { transactional: any; isInTransaction(): boolean } // its EntityManager
        ? C
        : C extends { connect: (callback: (error: any, client: infer T, done: any) => any) => any; totalCount: number } // pg
          ? NonNullable<T>
          : C extends { transaction(): { execute(work: (tx: infer T) => any): any } } // Kysely
            ? T
            : C extends { transaction: any; getQueryInterface: any }
              ? SequelizeTransaction<C>
              : C extends { transaction: any; raw: any; schema: any }
                ? KnexTransaction<C>
                : C extends { transaction: (...a: infer A) => any; manager: any } // TypeORM
                  ? LastCallback<A>
                  : C extends { transaction: (work: (tx: infer T) => any, ...rest: any[]) => any } // Drizzle
                    ? T
                    : never;

type LastCallback<A> = A extends [...any[], (tx: infer T) => any] ? T : never;
type PrismaTransaction<A> = A extends [work: (tx: infer T) => any, ...rest: any[]] ? T & { $connect?: never } : never;
type SequelizeTransaction<C> = C extends { transaction(): Promise<infer T> } ? T : never;
type KnexTransaction<C> = C extends { transaction: (...a: infer A) => any }
  ? A extends [work: (tx: infer T) => any, ...rest: any[]]
    ? T
    : never
  : never;

/** Shown in the compiler's error when a client is none of the supported ones. */
export interface UnsupportedClient {
  readonly 'pass a pg Pool, postgres.js sql, Kysely, Drizzle, Prisma, TypeORM DataSource, Knex, MikroORM or Sequelize instance': never;
}

/** `C` itself when it is supported: `postgres<C extends object>(client: C & Supported<C>): Store<TransactionOf<C>>`. */
export type Supported<C> = [TransactionOf<C>] extends [never] ? UnsupportedClient : C;
