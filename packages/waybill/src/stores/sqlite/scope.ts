import { WaybillError } from '../../contract/errors.ts';
import { runSavepoint } from '../../contract/savepoint.ts';
import type { MaybePromise } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import type { RowWriter, SqliteDatabase, SqliteTransaction, SqlValue, Statements } from './port.ts';
import type { Unit } from './transaction.ts';

/** A handle on a transaction: on the whole of it, on a savepoint's part, or (`early`) for what runs right after BEGIN. */
export class Scope implements SqliteTransaction {
  readonly unit: Unit;
  readonly parent: Scope | undefined;
  readonly early: boolean;
  readonly callbacksBefore: number;
  over = false;
  #native: SqlTransaction | undefined;
  #statements: Statements | undefined;

  constructor(unit: Unit, parent: Scope | undefined, early = false) {
    this.unit = unit;
    this.parent = parent;
    this.early = early;
    this.callbacksBefore = parent === undefined ? 0 : unit.callbacks;
  }

  get database(): SqliteDatabase {
    return this.unit.writer.database;
  }

  get native(): SqlTransaction {
    return (this.#native ??= this.unit.writer.native(this));
  }

  get statements(): Statements {
    return (this.#statements ??= guarded(this));
  }

  writing<R>(work: (statements: Statements) => R): MaybePromise<R> {
    this.unit.assertUsable(this);
    const wait = this.unit.begin(this);
    if (wait === undefined) return work(this.statements);
    return wait.then(() => work(this.statements));
  }

  hold<Row>(row: Row, writer: RowWriter<Row>): MaybePromise<void> {
    this.unit.assertUsable(this);
    const wait = this.unit.begin(this);
    if (wait === undefined) return this.unit.hold(row, writer);
    return wait.then(() => {
      this.unit.assertUsable(this);
      this.unit.hold(row, writer);
    });
  }

  writeHeld(): void {
    this.unit.assertUsable(this);
    this.unit.writeHeld();
  }

  savepoint<R>(work: (native: SqlTransaction) => MaybePromise<R>): Promise<R> {
    return runSavepoint(this.unit, { outer: this, begin: () => new Scope(this.unit, this) }, work);
  }

  afterCommit(fn: () => void): void {
    this.unit.assertUsable(this);
    this.unit.afterCommit(fn);
  }
}

/** Statements that run only while `scope` lives: past its end they would commit by themselves. */
function guarded(scope: Scope): Statements {
  const { unit } = scope;
  const { statements } = unit.writer;
  const check = (): void => {
    unit.assertUsable(scope);
    if (unit.hasBegun || scope.early) return;
    throw new WaybillError('NOT_A_TRANSACTION', 'This lazy transaction has not begun: write through `writing`.');
  };
  const noticing =
    <R>(run: (sql: string, ...values: readonly SqlValue[]) => R) =>
    (sql: string, ...values: readonly SqlValue[]): R => {
      check();
      try {
        return run(sql, ...values);
      } catch (error) {
        unit.notice(error);
        throw error;
      }
    };
  return { run: noticing(statements.run), get: noticing(statements.get) as Statements['get'], all: noticing(statements.all) as Statements['all'], tuples: noticing(statements.tuples) as Statements['tuples'] };
}
