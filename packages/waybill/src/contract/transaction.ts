/** What every bus whose store is given as URL (or by default) has as `tx`: one call, in the shape of node-postgres. */
export interface SqlTransaction {
  /**
   * Runs one statement with `$1` placeholders and returns its rows.
   * @throws WaybillError `NOT_A_TRANSACTION` once the transaction is over, `INVALID_SQL` for `begin`, `commit` and the like.
   */
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ rows: Row[]; rowCount: number | null }>;
}

/**
 * Any transaction of a supported client, by shape; nothing is imported. A root client does not fit where the types can
 * tell, and is refused at run time always.
 */
export type TransactionLike =
  | (SqlTransaction & {
      totalCount?: never;
      isConnected?: never;
      $connect?: never;
      manager?: never;
      getQueryInterface?: never;
    }) // pg client, stores given by URL
  | { unsafe(...a: any[]): any; savepoint(...a: any[]): any } // postgres.js
  | { readonly isTransaction: true; executeQuery(...a: any[]): any } // Kysely
  | { insert(...a: any[]): any; rollback(): never; transaction(...a: any[]): any } // Drizzle
  | { $executeRawUnsafe(...a: any[]): any; $queryRawUnsafe(...a: any[]): any; $connect?: never } // Prisma
  | { readonly queryRunner?: any; query(...a: any[]): any; getRepository(...a: any[]): any; isInitialized?: never } // TypeORM
  | { readonly isTransactionActive: boolean; query(...a: any[]): any } // TypeORM QueryRunner
  | { raw(...a: any[]): any; commit(...a: any[]): any; isCompleted(): boolean } // Knex
  | { isInTransaction(): boolean; transactional(...a: any[]): any; getConnection(...a: any[]): any } // MikroORM
  | {
      getConnection?: never;
      beginTransaction(...a: any[]): any;
      commit(...a: any[]): any;
      query(...a: any[]): any;
      execute(...a: any[]): any;
    } // mysql2 connection
  | { commit(): Promise<void>; rollback(): Promise<void>; afterCommit(...a: any[]): any }; // Sequelize
