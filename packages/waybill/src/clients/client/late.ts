/**
 * A statement that travels with COMMIT instead of by itself, which saves its round trip. In go what is to be said and the
 * client that says it; out it goes with COMMIT, or earlier, right before a statement of the user's that may see it, undo it or
 * change under which rights it runs. So whatever the user does, the effect is that of having said it at once. A crash
 * before COMMIT leaves nothing of it, as of the rest.
 *
 * For clients that queue what they are told, take several statements in one text, and know whether they are in a
 * transaction (`pg` since 8.17). The client's `query` is wrapped once, and hands everything on as it came.
 */

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
export interface LateClient {
  query(text: string): Promise<unknown>;
  getTransactionStatus?(): 'I' | 'T' | 'E' | null;
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
  #wrapped = false;
  #held: Held | undefined;
  /** Of what was sent early; its failure is the transaction's, whoever waits for it. */
  #sent: Promise<void> | undefined;

  constructor(client: LateClient) {
    this.#client = client;
  }

  /** Not said yet: more can be put into it. */
  get held(): Held | undefined {
    return this.#held;
  }

  /** Nothing may be held already. */
  hold(held: Held): void {
    this.#wrap();
    this.#held = held;
  }

  #wrap(): void {
    if (this.#wrapped) return;
    this.#wrapped = true;
    const client = this.#client as { query(...given: unknown[]): unknown };
    const query = client.query;
    client.query = (...given) => {
      if (this.#held !== undefined && !isHarmless(given[0])) this.#sayNow();
      return query.apply(client, given);
    };
  }

  /** Ahead of whatever the client is told next. */
  #sayNow(): void {
    const held = this.#held!;
    this.#held = undefined;
    // In a failed transaction nothing but its undoing can follow, and that undoes what is held.
    if (this.#client.getTransactionStatus!() === 'E') return;
    const said = (this.#client.query(held.write()) as Promise<Answer>).then(({ rows }) => held.answered(rows));
    this.#sent = Promise.all([this.#sent, said]).then(() => {});
    this.#sent.catch(() => {});
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
    this.#held = undefined;
    this.#sent = undefined;
  }

  /** COMMIT, and with it what is held. @returns COMMIT's tag, `ROLLBACK` when the transaction had failed */
  async commit(): Promise<string> {
    const held = this.#held;
    this.drop();
    if (held === undefined) return ((await this.#client.query('commit')) as Answer).command;
    const [said, committed] = (await this.#client.query(`${held.write()};commit`)) as unknown as [Answer, Answer];
    held.answered(said.rows);
    return committed.command;
  }
}

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
