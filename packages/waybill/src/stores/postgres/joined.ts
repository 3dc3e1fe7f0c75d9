/**
 * A transaction that user code opened itself, and handed to a publish. In go statements; out comes what the user's own
 * COMMIT or ROLLBACK makes of them, which nobody tells us: what was to run after the commit does not run. That it is over
 * shows on its connection where there is one to see (`clients/client/end.ts`), and wakes the relay; elsewhere the relay looks
 * from the publish on, in ever longer steps.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { MaybePromise } from '../../contract/store.ts';
import { asStatementError } from './errors.ts';
import { textValues } from './port.ts';
import type { OpenTransaction, PostgresTransaction, SqlValue } from './port.ts';

export class Joined<Tx> implements PostgresTransaction<Tx> {
  readonly store: object;
  readonly #open: OpenTransaction;

  constructor(store: object, open: OpenTransaction) {
    this.store = store;
    this.#open = open;
  }

  get native(): Tx {
    return this.#open.native as Tx;
  }

  async query<Row extends object>(text: string, values?: readonly SqlValue[]): Promise<readonly Row[]> {
    this.#open.assertOpen();
    try {
      return await this.#open.query<Row>(text, textValues(values));
    } catch (error) {
      throw asStatementError(error);
    }
  }

  /** Nobody asks: its COMMIT is the user's. */
  told(): void {}

  readonly ours = false;

  /** Its COMMIT is the user's: nothing can travel with it. */
  async late(): Promise<undefined> {}

  async say(): Promise<void> {}

  savepoint<R>(work: (native: Tx) => MaybePromise<R>): Promise<R> {
    return this.#open.savepoint(async (part) => work(part.native as Tx));
  }

  afterCommit(fn: () => void): void {
    if (typeof fn !== 'function') throw new WaybillError('INVALID_OPTION', 'afterCommit takes a function');
  }

  whenOver(look: () => void): void {
    if (this.#open.whenOver !== undefined) this.#open.whenOver(look);
    else look();
  }
}
