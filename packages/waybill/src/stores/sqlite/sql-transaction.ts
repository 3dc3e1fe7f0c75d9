/**
 * The transaction as user code sees it: one call, `query`, in the shape of node-postgres. A statement costs one prepared
 * statement (kept) and no round trip; it runs at once when the transaction has begun.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { WaybillError } from '../../contract/errors.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { asStoreError } from './errors.ts';
import { readSql, refusal } from './sql-text.ts';
import type { SqlText } from './sql-text.ts';
import { bindings, plainRow } from './sql-values.ts';
import type { Scope } from './transaction.ts';

/** Prepared statements of users kept per connection: texts may be put together by code, so not without a bound. */
const preparedMax = 500;

interface Prepared extends SqlText {
  readonly statement: StatementSync;
  readonly answersRows: boolean;
  /** Where the next statement of the same text begins; undefined after the last. */
  readonly rest: string | undefined;
}

interface Result {
  readonly rows: Record<string, unknown>[];
  readonly rowCount: number | null;
}

/** The users' statements on one connection. */
export class UserStatements {
  readonly #connection: DatabaseSync;
  readonly #file: string;
  readonly #prepared = new Map<string, Prepared>();

  constructor(connection: DatabaseSync, file: string) {
    this.#connection = connection;
    this.#file = file;
  }

  /** Runs a text of one statement with values, or of several without; answers for the last. */
  run(text: string, values: readonly unknown[]): Result {
    let result: Result = { rows: [], rowCount: null };
    if (isBlank(text)) return result;
    for (let rest: string | undefined = text; rest !== undefined; ) {
      const prepared = this.#prepare(rest);
      if (values.length > 0 && (prepared.rest !== undefined || rest !== text)) {
        throw refusal(text, 'values go with one statement, and it has several');
      }
      if (prepared.parameters !== values.length) {
        throw refusal(rest, `it has ${prepared.parameters} placeholders, and ${values.length} values were given`);
      }
      result = this.#execute(prepared, values);
      rest = prepared.rest;
    }
    return result;
  }

  #execute({ statement, answersRows, verb }: Prepared, values: readonly unknown[]): Result {
    const bound = bindings(values);
    try {
      if (answersRows) {
        const rows = statement.all(bound).map(plainRow);
        return { rows, rowCount: rows.length };
      }
      const { changes } = statement.run(bound);
      return { rows: [], rowCount: changing.has(verb) ? Number(changes) : null };
    } catch (error) {
      throw asStoreError(error, this.#file);
    }
  }

  #prepare(text: string): Prepared {
    const known = this.#prepared.get(text);
    if (known !== undefined) {
      this.#prepared.delete(text); // to the end: the one used longest ago stands first
      this.#prepared.set(text, known);
      return known;
    }
    const prepared = this.#prepareNew(text);
    this.#prepared.set(text, prepared);
    if (this.#prepared.size > preparedMax) this.#prepared.delete(this.#prepared.keys().next().value!);
    return prepared;
  }

  #prepareNew(text: string): Prepared {
    let statement: StatementSync;
    try {
      statement = this.#connection.prepare(text);
    } catch (error) {
      readSql(text); // if it would be refused anyway, that says more
      throw asStoreError(error, this.#file);
    }
    const source = statement.sourceSQL;
    const read = readSql(source);
    statement.setReadBigInts(true); // an integer past 2^53 would throw after the statement had its effect
    const rest = text.slice(source.length);
    return { ...read, statement, answersRows: statement.columns().length > 0, rest: isBlank(rest) ? undefined : rest };
  }
}
const changing: ReadonlySet<string> = new Set(['insert', 'update', 'delete', 'replace', 'with']);

function isBlank(sql: string): boolean {
  return /^(?:[\s;]|--[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/|$))*$/.test(sql);
}

/** What `scope` looks like from the user's side. */
export function nativeOf(scope: Scope, statements: UserStatements): SqlTransaction {
  return {
    async query<Row>(text: string, values: readonly unknown[] = []) {
      if (typeof text !== 'string' || !Array.isArray(values)) {
        throw new WaybillError('INVALID_SQL', 'query takes a text and, where it has placeholders, an array of values.');
      }
      const { unit } = scope;
      unit.assertUsable(scope);
      const wait = unit.begin(scope);
      if (wait !== undefined) {
        await wait;
        unit.assertUsable(scope);
      }
      let failed: unknown;
      try {
        return statements.run(text, values) as { rows: Row[]; rowCount: number | null };
      } catch (error) {
        failed = error;
        throw error;
      } finally {
        unit.notice(failed); // user SQL may have ended the transaction, with an error or without
      }
    },
  };
}
