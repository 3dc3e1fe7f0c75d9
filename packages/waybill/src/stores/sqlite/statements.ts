/** Waybill's own statements on one connection: finite in number, prepared once per text and kept. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { asStoreError } from './errors.ts';
import type { SqlRow, SqlValue, Statements } from './port.ts';

interface Prepared {
  readonly statement: StatementSync;
  /** With `?1` instead of `?`. To Node 22 these are names, which take no values by position. */
  readonly numbered: boolean;
}
type Bound = [Record<string, SqlValue>] | readonly SqlValue[];

export function statementsOf(connection: DatabaseSync, file: string): Statements {
  const known = new Map<string, Prepared>();
  const knownTuples = new Map<string, Prepared>();
  const prepare = (sql: string, among: Map<string, Prepared>): Prepared => {
    const prepared = { statement: connection.prepare(sql), numbered: /\?\d/.test(sql) };
    if (among === knownTuples) prepared.statement.setReturnArrays(true);
    among.set(sql, prepared);
    return prepared;
  };
  const call = <R>(sql: string, values: readonly SqlValue[], how: (statement: StatementSync, bound: Bound) => R, among = known): R => {
    try {
      const { statement, numbered } = among.get(sql) ?? prepare(sql, among);
      return how(statement, numbered ? [byNumber(values)] : values);
    } catch (error) {
      throw asStoreError(error, file);
    }
  };
  return {
    run: (sql, ...values) => call(sql, values, runs) as { changes: number; lastInsertRowid: number },
    get: <Row = SqlRow>(sql: string, ...values: readonly SqlValue[]) => call(sql, values, gets) as Row | undefined,
    all: <Row = SqlRow>(sql: string, ...values: readonly SqlValue[]) => call(sql, values, takesAll) as Row[],
    tuples: <Row = SqlValue[]>(sql: string, ...values: readonly SqlValue[]) => call(sql, values, takesAll, knownTuples) as Row[],
  };
}

const runs = (statement: StatementSync, bound: Bound): unknown => statement.run(...(bound as SqlValue[]));
const gets = (statement: StatementSync, bound: Bound): unknown => statement.get(...(bound as SqlValue[]));
const takesAll = (statement: StatementSync, bound: Bound): unknown => statement.all(...(bound as SqlValue[]));

function byNumber(values: readonly SqlValue[]): Record<string, SqlValue> {
  const bound: Record<string, SqlValue> = {};
  for (const [at, value] of values.entries()) bound[`?${at + 1}`] = value;
  return bound;
}
