/** Waybill's own statements on one connection: finite in number, prepared once per text and kept. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { asStoreError } from './errors.ts';
import type { SqlRow, SqlValue, Statements } from './port.ts';

export function statementsOf(connection: DatabaseSync, file: string): Statements {
  const prepared = new Map<string, StatementSync>();
  const of = (sql: string): StatementSync => {
    let statement = prepared.get(sql);
    if (statement === undefined) prepared.set(sql, (statement = connection.prepare(sql)));
    return statement;
  };
  return {
    run(sql, ...values) {
      try {
        return of(sql).run(...values) as { changes: number; lastInsertRowid: number };
      } catch (error) {
        throw asStoreError(error, file);
      }
    },
    get<Row = SqlRow>(sql: string, ...values: readonly SqlValue[]) {
      try {
        return of(sql).get(...values) as Row | undefined;
      } catch (error) {
        throw asStoreError(error, file);
      }
    },
    all<Row = SqlRow>(sql: string, ...values: readonly SqlValue[]) {
      try {
        return of(sql).all(...values) as Row[];
      } catch (error) {
        throw asStoreError(error, file);
      }
    },
  };
}
