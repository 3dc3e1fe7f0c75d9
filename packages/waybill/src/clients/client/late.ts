/**
 * What travels with the user's own statements instead of by itself, which saves its round trip: BEGIN with the first of
 * them (`first.ts`), and rows with COMMIT. In go what is to be said and the client that says it; out the rows go with COMMIT,
 * or earlier, right before a statement of the user's that may see them, undo them or change under which rights they are
 * written. So whatever the user does, the effect is that of having said it at once. A crash before COMMIT leaves nothing of
 * it, as of the rest.
 *
 * For clients that queue what they are told, take several statements in one text, and know whether they are in a
 * transaction (`pg` since 8.17). The client's `query` is wrapped once, and hands everything on as it came.
 */
import { begin, sayBegin, sayFirst, type Speaker } from './first.ts';

/** What is held back. */
export interface Held {
  /** What only this transaction writes: by it the database can be asked whether COMMIT happened. */
  readonly mark: string;
  /** One statement without placeholders; asked for once, when it is sent. */
  write(): string;
  /** Its rows. */
  answered(rows: readonly object[]): void;
}

/** What is used of a client. */
export interface LateClient extends Speaker {
  query(text: string): Promise<unknown>;
  getTransactionStatus?(): 'I' | 'T' | 'E' | null;
  /** Says the next statement before the one before it has answered. */
  readonly pipeline?: boolean;
}

interface Answer {
  readonly rows: readonly object[];
  readonly command: string;
}

const known = new WeakMap<object, Late>();

/** Undefined where the client cannot do this. */
export function lateOf(client: LateClient): Late | undefined {
  if (typeof client.getTransactionStatus !== 'function') return undefined;
  let late = known.get(client);
  if (late === undefined) known.set(client, (late = new Late(client)));
  return late;
}

export class Late {
  readonly #client: LateClient;
  /** The client's own `query`. */
  readonly #query: (...given: unknown[]) => unknown;
  #begin: 'due' | 'said' | 'answered' = 'answered';
  #held: Held | undefined;
  /** Of what was sent early; its failure is the transaction's, whoever waits for it. */
  #sent: Promise<void> | undefined;

  constructor(client: LateClient) {
    this.#client = client;
    // looked up each time where it is the class's: whoever measures statements may replace that one later
    const holder = (Object.hasOwn(client, 'query') ? { query: client.query } : Object.getPrototypeOf(client)) as { query(...given: unknown[]): unknown };
    this.#query = (...given) => holder.query.apply(client, given);
    (client as { query: unknown }).query = (...given: unknown[]) => {
      if (this.#held !== undefined && !isHarmless(given[0])) this.#sayNow();
      return this.#begin === 'due' ? sayFirst(client, this.#query, given, this.#beginSaid()) : this.#query(...given);
    };
  }

  /** From now on in a transaction. With `pipeline` what stands behind a refused BEGIN would be on its way: there it is waited for. */
  async begin(): Promise<void> {
    if (this.#client.pipeline === true) await this.#query(begin);
    else this.#begin = 'due';
  }

  /** An answer that comes after the end must not take the next transaction's BEGIN for said. */
  #beginSaid(): () => void {
    this.#begin = 'said';
    return () => {
      if (this.#begin === 'said') this.#begin = 'answered';
    };
  }

  /** Whether nothing has been said in this transaction: the server does not know of it. */
  get silent(): boolean {
    return this.#begin === 'due';
  }

  /** Whether the server has answered to BEGIN: until then the client does not know that it is in a transaction. */
  get begun(): boolean {
    return this.#begin === 'answered';
  }

  /** Not said yet: more can be put into it. */
  get held(): Held | undefined {
    return this.#held;
  }

  /** Nothing may be held already. */
  hold(held: Held): void {
    this.#held = held;
  }

  /** Ahead of whatever the client is told next. */
  #sayNow(): void {
    const held = this.#held!;
    this.#held = undefined;
    if (this.#begin === 'due') sayBegin(this.#client, this.#query, this.#beginSaid());
    this.#sent = Promise.all([this.#sent, this.#say(held)]).then(() => {});
    this.#sent.catch(() => {});
  }

  async #say(held: Held): Promise<void> {
    try {
      const { rows } = (await this.#query(held.write())) as Answer;
      held.answered(rows);
    } catch (error) {
      // In a failed transaction nothing but its undoing can follow. Only the server knows by then: of an error the client tells before
      // it hears what that has done, and what else is under way may be its undoing.
      if ((error as { code?: unknown }).code !== failedTransaction) throw error;
    }
  }

  /** Says it now; as `settled`. */
  say(): Promise<void> {
    if (this.#held !== undefined) this.#sayNow();
    return this.settled();
  }

  /** Resolves when what was said early has been answered, and rejects when any of it has failed. */
  async settled(): Promise<void> {
    await this.#sent;
  }

  /** The transaction is over without it. */
  drop(): void {
    this.#begin = 'answered';
    this.#held = undefined;
    this.#sent = undefined;
  }

  /** COMMIT, and with it what is held; nothing, where nothing was said. @returns COMMIT's tag, `ROLLBACK` when the transaction had failed */
  async commit(): Promise<string> {
    const [held, silent] = [this.#held, this.silent];
    this.drop();
    if (held === undefined) return silent ? 'COMMIT' : ((await this.#query('commit')) as Answer).command;
    const answers = (await this.#query(`${silent ? `${begin};` : ''}${held.write()};commit`)) as Answer[];
    const [said, committed] = answers.slice(-2) as [Answer, Answer];
    held.answered(said.rows);
    return committed.command;
  }
}

/** https://www.postgresql.org/docs/current/errcodes-appendix.html: in_failed_sql_transaction */
const failedTransaction = '25P02';

/**
 * A single statement on the user's own rows. Not: savepoints, `set role`, what holds several statements, what is not text,
 * and what reads the ledger.
 */
function isHarmless(statement: unknown): boolean {
  const text: unknown = typeof statement === 'string' ? statement : (statement as { text?: unknown } | undefined)?.text;
  return typeof text === 'string' && ownRows.test(text) && !telling.test(text);
}

const ownRows = /^\s*(?:select|insert|update|delete|merge|values|with)\b/i;
const telling = /;|set_config|ledger/i;
