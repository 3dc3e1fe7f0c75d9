/**
 * The transaction as user code sees it: one call, `query`, in the shape of node-postgres. A statement costs one prepared
 * statement (kept) and no round trip; it runs at once when the transaction has begun.
 */
import { DatabaseSync } from 'node:sqlite';
import type { StatementSync } from 'node:sqlite';
import { WaybillError } from '../../contract/errors.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { asStoreError } from './errors.ts';
import type { SqlValue } from './port.ts';
import { numbered, parametersOf, refusal, startOf, verbOf } from './sql-text.ts';
import { bindings, plainRow, positions } from './sql-values.ts';
import type { Scope } from './scope.ts';

/** Prepared statements of users kept per connection: texts may be put together by code, so not without a bound. */
const preparedMax = 500;

interface Prepared {
  readonly statement: StatementSync;
  readonly verb: string;
  readonly parameters: number;
  /** Values go by position: a microsecond less than by name, for two. */
  readonly byPosition: boolean;
  readonly answersRows: boolean;
  /** Where the next statement of the text begins; undefined after the last. */
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
  /** Texts of one statement, the one prepared longest ago first. */
  readonly #prepared = new Map<string, Prepared>();

  constructor(connection: DatabaseSync, file: string) {
    this.#connection = connection;
    this.#file = file;
  }

  /** Runs a text of one statement with values, or of several without; answers for the last. */
  run(text: string, values: readonly unknown[]): Result {
    const first = this.#prepared.get(text) ?? this.#keep(text);
    if (first === undefined) return { rows: [], rowCount: null };
    if (first.rest !== undefined && values.length > 0) throw refusal(text, 'values go with one statement, and it has several');
    if (first.parameters !== values.length) {
      throw refusal(text, `it has ${first.parameters} placeholders, and ${values.length} values were given`);
    }
    let result = this.#execute(first, values);
    for (let { rest } = first; rest !== undefined; ) {
      const next = this.#prepare(rest);
      if (next.parameters > 0) throw refusal(rest, 'placeholders go with one statement, and the text has several');
      result = this.#execute(next, []);
      rest = next.rest;
    }
    return result;
  }

  #execute({ statement, answersRows, byPosition, verb }: Prepared, values: readonly unknown[]): Result {
    const bound = byPosition ? positions(values) : [bindings(values)];
    try {
      if (answersRows) {
        const rows = rowsOf(statement, bound as [Record<string, SqlValue>]).map(plainRow);
        return { rows, rowCount: rows.length };
      }
      const { changes } = statement.run(...(bound as SqlValue[]));
      return { rows: [], rowCount: changing.has(verb) ? Number(changes) : null };
    } catch (error) {
      throw asStoreError(error, this.#file);
    }
  }

  /** Undefined when there is no statement in it. */
  #keep(text: string): Prepared | undefined {
    if (startOf(text) === text.length) return undefined;
    const prepared = this.#prepare(text);
    if (prepared.rest !== undefined) return prepared;
    this.#prepared.set(text, prepared);
    if (this.#prepared.size > preparedMax) this.#prepared.delete(this.#prepared.keys().next().value!);
    return prepared;
  }

  #prepare(text: string): Prepared {
    const verb = verbOf(text);
    let statement = this.#compile(text);
    const source = statement.sourceSQL;
    const rest = text.slice(source.length);
    const parameters = parametersOf(source);
    const answersRows = statement.columns().length > 0; // a column may be named after its placeholder
    const byPosition = !answersRows && parameters > 0 && takesPositions();
    if (byPosition) statement = this.#compile(numbered(source));
    return { statement, verb, parameters, byPosition, answersRows, rest: startOf(rest) === rest.length ? undefined : rest };
  }

  #compile(text: string): StatementSync {
    try {
      const statement = this.#connection.prepare(text);
      statement.setReadBigInts(true); // an integer past 2^53 would throw after the statement had its effect
      return statement;
    } catch (error) {
      throw asStoreError(error, this.#file);
    }
  }
}
const changing: ReadonlySet<string> = new Set(['insert', 'update', 'delete', 'replace', 'with']);

/** Whether values can be given to `?1` by position: to Node 22 that is a name. */
function takesPositions(): boolean {
  return (positional ??= triesPositions());
}
let positional: boolean | undefined;

function triesPositions(): boolean {
  const trial = new DatabaseSync(':memory:');
  try {
    return trial.prepare('select ?2 as two').get(1, 2)?.['two'] === 2;
  } catch {
    return false;
  } finally {
    trial.close();
  }
}

function rowsOf(statement: StatementSync, bound: [Record<string, SqlValue>]): Record<string, unknown>[] {
  staleColumns ??= hasStaleColumns();
  return staleColumns ? [...statement.iterate(...bound)] : statement.all(...bound);
}
let staleColumns: boolean | undefined;

/**
 * Whether `all` reads rows by the columns that a kept statement had before `alter table`, as it does in Node 22 (24 is
 * right): then columns are missing, in silence. `iterate` is right in both, and takes twice as long.
 */
function hasStaleColumns(): boolean {
  const trial = new DatabaseSync(':memory:');
  trial.exec('create table t (a); insert into t values (1)');
  const statement = trial.prepare('select * from t');
  statement.all();
  trial.exec('alter table t add column b');
  const stale = Object.keys(statement.all()[0]!).length === 1;
  trial.close();
  return stale;
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
