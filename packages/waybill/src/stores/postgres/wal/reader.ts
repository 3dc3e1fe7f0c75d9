/**
 * Reads the ledger's rows out of the write-ahead log, while a lease is held.
 *
 * In goes a connection in replication mode; out come committed rows, transaction by transaction, as soon as the server has
 * written them down. Guaranteed: between `start` and its end a stream brings every row that is committed after it began; the server forgets nothing before `confirm` has named it. It is bounded: past so many rows
 * or bytes the socket is left alone until some are taken. A stream that breaks is opened again, with a new number: what
 * happened between the two it may not tell.
 *
 *     closed ◄── away ◄──► opening ──► streaming
 *
 * A crash leaves the slot, which keeps the log from where it was confirmed.
 *
 * Costs no statement per row or window; a status message after each window and each second.
 */
import type { Clock } from '../../../contract/clock.ts';
import type { Signals } from '../../../contract/signals.ts';
import type { OutboxRow } from '../../../contract/store.ts';
import type { Direct } from '../direct.ts';
import { messageOf, type MessageRow } from '../wire.ts';
import { ReplicationConnection, isSpoilt } from './connection.ts';
import { PgOutput, type Decoded, type Lsn } from './pgoutput.ts';
import { ensurePublication, ensureSlot, publicationName, slotName } from './slot.ts';

/** Of rows that wait to be taken; a transaction may be longer than either. */
const rowsMax = 2_000;
const bytesMax = 16 * 1024 * 1024;
/** The server ends a connection that says nothing for `wal_sender_timeout`, a minute by default. */
const statusMs = 1_000;
/** Nothing heard for so long: the server is asked; for longer: the connection is given up. */
const askMs = 10_000;
const silentMs = 30_000;
const pauseFirstMs = 200;
const pauseMaxMs = 30_000;

/** Whole transactions, or a part of one that is longer than was asked for. */
export interface Taken {
  /** In position order. */
  readonly rows: readonly OutboxRow[];
  readonly xids: readonly bigint[];
  /** Where the log goes on after them; undefined while more of this transaction is to come. */
  readonly end: Lsn | undefined;
}

interface Transaction {
  readonly xid: bigint;
  rows: OutboxRow[];
  end: Lsn | undefined;
}

export interface LogReaderOptions {
  readonly direct: Direct;
  readonly database: string;
  /** Not quoted. */
  readonly schema: string;
  readonly clock: Clock;
  readonly signals: Signals;
  /** There is something to take, or the stream began or broke. */
  readonly wake: () => void;
  /** Whether this process still holds the lease: asked before another reader of the slot is ended. */
  readonly mayTake: () => Promise<boolean>;
}

export class LogReader {
  readonly #options: LogReaderOptions;
  #closed = false;
  #connection: ReplicationConnection | undefined;
  /** Of the stream that runs; undefined while none does. */
  #stream: number | undefined;
  #streams = 0;
  #queue: Transaction[] = [];
  #rows = 0;
  #bytes = 0;
  #paused = false;
  /** Everything before it has come. */
  #received: Lsn = 0n;
  /** Everything before it has been taken. */
  #taken: Lsn = 0n;
  #confirmed: Lsn = 0n;
  #heardMs = 0;
  #cancel: () => void = () => {};
  #spoilt = false;
  #told: string | undefined;
  readonly slot: string;
  readonly #reached = new Set<{ readonly lsn: Lsn; readonly resolve: () => void }>();

  constructor(options: LogReaderOptions) {
    this.#options = options;
    this.slot = slotName(options.database, options.schema);
  }

  /** Opens the stream, again and again until `close`. */
  start(): void {
    void this.#open(pauseFirstMs);
  }

  /** The running stream's number. */
  get stream(): number | undefined {
    return this.#stream;
  }

  /** Every row before it was taken. */
  get passed(): Lsn {
    return this.#queue.length === 0 ? this.#received : this.#taken;
  }

  async #open(pauseMs: number): Promise<void> {
    try {
      const connection = new ReplicationConnection(await this.#options.direct({ replication: 'database' }));
      if (this.#closed) return connection.close();
      this.#connection = connection;
      await this.#begin(connection);
    } catch (error) {
      if (this.#closed) return;
      this.#connection?.close();
      this.#spoilt ||= isSpoilt(error);
      this.#tell('away', error);
      this.#cancel = this.#options.clock.after(pauseMs * (0.5 + this.#options.clock.random() / 2), () => void this.#open(Math.min(pauseMs * 2, pauseMaxMs)));
    }
  }

  async #begin(connection: ReplicationConnection): Promise<void> {
    const { schema, mayTake } = this.#options;
    const publication = publicationName(schema);
    const { slot } = this;
    await connection.query('set bytea_output = hex');
    await ensurePublication(connection, { name: publication, schema });
    const done = await ensureSlot(connection, slot, { spoilt: this.#spoilt, mayTake });
    if (this.#closed) return;
    this.#spoilt = false;
    if (done === 'replaced') this.#tell('lost');
    if (done === 'created') this.#tell('created');
    const output = new PgOutput();
    this.#forget();
    await connection.start(slot, publication, {
      data: (message) => this.#hear(output.decode(message)),
      keepalive: (end, asked) => this.#keepalive(end, asked),
      ended: (error) => this.#ended(error),
    });
    if (this.#closed) return;
    this.#stream = ++this.#streams;
    this.#heardMs = this.#options.clock.monotonic();
    this.#tell('streaming');
    this.#tick();
    this.#options.wake();
  }

  #forget(): void {
    this.#queue = [];
    this.#rows = this.#bytes = 0;
    this.#paused = false;
    this.#received = this.#taken = this.#confirmed = 0n;
  }

  #ended(error: Error): void {
    if (this.#closed || this.#stream === undefined) return; // before it began: `open` hears of it
    this.#stream = undefined;
    this.#cancel();
    this.#connection?.close();
    this.#spoilt ||= isSpoilt(error);
    this.#tell('away', error);
    this.#options.wake();
    this.#cancel = this.#options.clock.after(pauseFirstMs, () => void this.#open(pauseFirstMs * 2));
  }

  #hear(decoded: Decoded | undefined): void {
    this.#heardMs = this.#options.clock.monotonic();
    if (decoded === undefined) return;
    if (decoded.kind === 'insert') this.#add(decoded);
    else this.#commit(decoded.end);
  }

  #add({ schema, table, values }: Extract<Decoded, { kind: 'insert' }>): void {
    if (schema !== this.#options.schema || table !== 'ledger') return;
    const row = rowOf(values);
    const xid = BigInt(values.xid!);
    let last = this.#queue.at(-1);
    if (last === undefined || last.end !== undefined) this.#queue.push((last = { xid, rows: [], end: undefined }));
    last.rows.push(row);
    this.#rows++;
    this.#bytes += row.body.byteLength;
    if (this.#paused || (this.#rows < rowsMax && this.#bytes < bytesMax)) return;
    this.#paused = true;
    this.#connection!.pause();
    this.#options.wake();
  }

  #commit(end: Lsn): void {
    const last = this.#queue.at(-1);
    if (last !== undefined && last.end === undefined) {
      last.end = end;
      this.#options.wake();
    }
    this.#come(end);
  }

  #keepalive(end: Lsn, asked: boolean): void {
    this.#heardMs = this.#options.clock.monotonic();
    this.#come(end);
    if (asked) this.#status(false);
  }

  #come(end: Lsn): void {
    if (end > this.#received) this.#received = end;
    for (const one of this.#reached) if (one.lsn <= this.#received && this.#reached.delete(one)) one.resolve();
  }

  /**
   * The next rows, `max` at most.
   * @param judge whether a transaction is wanted: `skip` was published, `wait` not yet
   */
  take(max: number, judge: (xid: bigint) => 'take' | 'skip' | 'wait'): Taken | undefined {
    const rows: OutboxRow[] = [];
    const xids: bigint[] = [];
    let end: Lsn | undefined;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const wanted = judge(first.xid);
      if (wanted === 'wait') break;
      if (wanted === 'skip') {
        this.#drop(first.rows.splice(0));
        if (first.end === undefined) break;
      } else {
        if (first.end === undefined || rows.length + first.rows.length > max) break;
        rows.push(...first.rows);
        xids.push(first.xid);
        end = first.end;
      }
      this.#queue.shift();
      this.#taken = first.end;
    }
    if (xids.length > 0) {
      this.#drop(rows);
      return { rows: rows.sort((one, two) => one.position - two.position), xids, end };
    }
    const first = this.#queue[0];
    if (first === undefined || first.rows.length === 0 || judge(first.xid) !== 'take') return undefined;
    return first.rows.length >= max || this.#paused ? { ...this.piece(max)!, xids: [first.xid] } : undefined;
  }

  /** More of the transaction of which a part was taken. */
  piece(max: number): Pick<Taken, 'rows' | 'end'> | undefined {
    const first = this.#queue[0];
    if (first === undefined || (first.rows.length === 0 && first.end === undefined)) return undefined;
    const rows = first.rows.splice(0, max);
    this.#drop(rows);
    if (first.rows.length > 0 || first.end === undefined) return { rows, end: undefined };
    this.#queue.shift();
    this.#taken = first.end;
    return { rows, end: first.end };
  }

  /** Rows in memory. */
  get held(): number {
    return this.#rows;
  }

  /** The transaction that is next; undefined where there is none. */
  get next(): bigint | undefined {
    return this.#queue[0]?.xid;
  }

  #drop(rows: readonly OutboxRow[]): void {
    this.#rows -= rows.length;
    for (const { body } of rows) this.#bytes -= body.byteLength;
    if (!this.#paused || this.#rows > rowsMax / 2 || this.#bytes > bytesMax / 2) return;
    this.#paused = false;
    this.#connection!.resume();
  }

  /** What lies before is published, durably: the server may forget it. */
  confirm(lsn: Lsn): void {
    if (this.#stream === undefined || lsn <= this.#confirmed) return;
    this.#confirmed = lsn;
    this.#status(false);
  }

  /** Asks the server how far it is. */
  ask(): void {
    this.#status(true);
  }

  /** Resolves when the stream has come so far. For tests. */
  reached(lsn: Lsn): Promise<void> {
    if (this.#stream !== undefined && lsn <= this.#received) return Promise.resolve();
    return new Promise((resolve) => {
      this.#reached.add({ lsn, resolve });
      this.#status(true);
    });
  }

  /** What `wal_status` says of the slot. */
  saw(status: string | null): void {
    if (this.#stream === undefined || status === null) return;
    this.#tell(status === 'reserved' ? 'streaming' : 'lagging');
  }

  #status(ask: boolean): void {
    if (this.#stream !== undefined) this.#connection!.status({ received: this.#received, confirmed: this.#confirmed, ask });
  }

  #tick(): void {
    const { clock } = this.#options;
    const silent = this.#paused ? 0 : clock.monotonic() - this.#heardMs;
    if (silent > silentMs) return this.#ended(new Error('the server has said nothing for 30 s'));
    this.#status(silent > askMs);
    this.#cancel = clock.after(statusMs, () => this.#tick());
  }

  #tell(state: 'created' | 'streaming' | 'lagging' | 'lost' | 'away', error?: unknown): void {
    if (state === this.#told && state !== 'away') return;
    this.#told = state;
    this.#options.signals.emit('log-slot', { slot: this.slot, state, ...(error !== undefined && { error }) });
  }

  /** The log did not bring what is committed: somebody changed the publication, or the slot. */
  missed(): void {
    this.#told = undefined;
    this.#tell('lost');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream = undefined;
    this.#cancel();
    this.#connection?.close();
    this.#queue = [];
  }
}

function rowOf(values: Readonly<Record<string, string | null>>): OutboxRow {
  const body = Buffer.from(values.body!.slice(2), 'hex'); // \x…
  return { ...messageOf({ ...values, body: '' } as unknown as MessageRow), body, position: Number(values.pos) };
}
