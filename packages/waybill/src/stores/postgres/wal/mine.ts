/**
 * Takes the log's rows as batches between two snapshots, so that the position says the same whoever moved it, by polls or
 * by the log.
 *
 * Every row carries the id of its transaction. What is visible in the newest batch has been read and is skipped; what no
 * snapshot of the server shows yet (it waits for a synchronous standby, say) is left until one does; the rest is a batch,
 * whose target is the base with these transactions in it.
 *
 * It is also the checker. Now and then a snapshot N and after it the end of the log L are taken: once all before L was
 * taken out of the log, whatever N shows has been read, or the log did not bring it. Then the ledger is asked, by its
 * index on transactions: normally for nothing, and N joins the position, so that it does not grow holes.
 *
 * Costs one statement per batch and three every two seconds.
 */
import type { Clock } from '../../../contract/clock.ts';
import type { OutboxRow } from '../../../contract/store.ts';
import type { Statements } from '../port.ts';
import { lowest, page, type Snapshot } from '../reading.ts';
import { lsnOf, type Lsn } from './pgoutput.ts';
import type { LogReader } from './reader.ts';
import { idsOf, includes, textOf, union, withAlso, type Ids } from './snapshot.ts';

const checkMs = 2_000;
/** Ids in a position that are not in it: past so many it is checked sooner. */
const holesMax = 200;
/** Ids between a base and the next row: past so many the ledger is polled once, and its snapshot is the next base. */
const farMax = 10_000n;
/** A commit is in the log a moment before it shows. */
const showsMs = 5;

export interface Batch {
  readonly rows: readonly OutboxRow[];
  readonly target: Snapshot;
  /** As `Taken` has it. */
  readonly end: Lsn | undefined;
  readonly stream: number;
}

export type Mined =
  | { readonly kind: 'rows'; readonly rows: readonly OutboxRow[] }
  /** Everything up to `target` was read, or (`missed`) the ledger has more. */
  | { readonly kind: 'checked'; readonly target: Snapshot; readonly missed: boolean }
  /** The base is too old, or what was open when the stream began has ended: the ledger is polled once. */
  | { readonly kind: 'far' };

interface Look {
  readonly seen: string;
  readonly lsn: string;
  readonly status: string | null;
}

export class Mine {
  readonly reader: LogReader;
  readonly #sql: Statements;
  readonly #schema: string;
  readonly #clock: Clock;
  readonly #wake: () => void;
  /** What was committed before this stream began has been read. */
  #begun: number | undefined;
  /**
   * Transactions that were open when this stream's beginning was polled. One of them may have its commit in the log before the
   * slot begins, and show only now (it waited for a standby): then nothing brings it. Its locks it has held until it shows.
   */
  #open: { readonly stream: number; readonly xids: Set<bigint> } | undefined;
  #mark: { readonly seen: Ids; readonly lsn: Lsn; readonly stream: number } | undefined;
  #markedMs = -Infinity;

  constructor(reader: LogReader, { sql, schema, clock, wake }: { sql: Statements; schema: string; clock: Clock; wake: () => void }) {
    this.reader = reader;
    this.#sql = sql;
    this.#schema = schema;
    this.#clock = clock;
    this.#wake = wake;
  }

  /** The ledger was read, as `seen` shows it, after this stream had begun: from here on the log has everything. */
  begin(stream: number | undefined, seen: Snapshot): void {
    if (stream === undefined || stream !== this.reader.stream) return;
    this.#begun = stream;
    const { xip } = idsOf(seen);
    const before = this.#open?.stream === stream ? this.#open.xids : xip;
    this.#open = { stream, xids: new Set([...xip].filter((xid) => before.has(xid))) };
    this.#mark = undefined;
    this.#markedMs = this.#clock.monotonic();
  }

  get ready(): boolean {
    return this.#begun !== undefined && this.#begun === this.reader.stream;
  }

  /** What the server may forget when nothing is in hand. */
  get passed(): Lsn | undefined {
    return this.ready ? this.reader.passed : undefined;
  }

  /** @param from `base`: all of it was read; `add`: gets what is taken in the same moment, so that `passed` never runs ahead */
  async take(from: { base: Snapshot; floor: number; max: number; add: (batch: Batch) => void }): Promise<Mined | undefined> {
    const { base, floor, max } = from;
    const read = idsOf(base);
    const checked = await this.#check(read, { base, floor });
    if (checked !== undefined) return checked;
    const next = this.reader.next;
    const due = this.#mark === undefined && (this.#clock.monotonic() - this.#markedMs >= checkMs || read.xip.size > holesMax);
    if (next === undefined && !due) return undefined;
    const { seen, stream } = await this.#look(due);
    if (stream === undefined || stream !== this.reader.stream) return undefined;
    if (this.#hasShown(seen)) {
      this.#begun = undefined;
      return { kind: 'far' };
    }
    let hidden = false;
    let far = false;
    const taken = this.reader.take(max, (xid) => {
      if (includes(read, xid)) return 'skip';
      far = xid - read.xmax > farMax;
      hidden = !includes(seen, xid);
      return far || hidden ? 'wait' : 'take';
    });
    if (taken !== undefined) {
      from.add({ rows: taken.rows, target: textOf(withAlso(read, taken.xids)), end: taken.end, stream });
      return { kind: 'rows', rows: taken.rows };
    }
    if (hidden) this.#clock.after(showsMs, this.#wake);
    if (!far || hidden) return undefined;
    this.#begun = undefined;
    return { kind: 'far' };
  }

  /** Whoever locked a key after one of them shows no sooner than that one: it is polled for before anything else is taken. */
  #hasShown(seen: Ids): boolean {
    for (const xid of this.#open?.xids ?? []) if (includes(seen, xid)) return true;
    return false;
  }

  /** Snapshot first, then the end of the log: all that the one shows lies before the other. */
  async #look(mark: boolean): Promise<{ readonly seen: Ids; readonly stream: number | undefined }> {
    const stream = this.reader.stream;
    const [row] = await this.#sql.query<Look>(
      `select pg_current_snapshot()::text as seen, pg_current_wal_insert_lsn()::text as lsn,
         (select wal_status from pg_replication_slots where slot_name = $1::text) as status`,
      [this.reader.slot],
    );
    const seen = idsOf(row!.seen);
    this.reader.saw(row!.status);
    if (mark && stream !== undefined) {
      this.#mark = { seen, lsn: lsnOf(row!.lsn), stream };
      this.#markedMs = this.#clock.monotonic();
      this.reader.ask();
    }
    return { seen, stream };
  }

  async #check(read: Ids, { base, floor }: { base: Snapshot; floor: number }): Promise<Mined | undefined> {
    const mark = this.#mark;
    if (mark === undefined || this.reader.passed < mark.lsn) return undefined;
    this.#mark = undefined;
    if (mark.stream !== this.reader.stream) return undefined;
    const target = textOf(union(read, mark.seen));
    if (target === base) return undefined;
    const batch = { base, target, floor };
    const from = await lowest(this.#sql, this.#schema, batch);
    const missed = (await page(this.#sql, this.#schema, batch, { after: 0, lowest: from, max: 1 })).rows.length > 0;
    if (missed) this.reader.missed();
    return { kind: 'checked', target, missed };
  }
}
