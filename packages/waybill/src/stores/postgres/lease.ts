/**
 * The relay's hold on the ledger. In go calls of one relay; out come the rows that are not published yet, batch by batch
 * and in position order within each, and a position that only ever passes what was settled. A batch of several pages is
 * announced in the position log before it is read, so whoever comes after a crash reads the same rows in the same order.
 * One that is read at once is not: after a crash its rows are read again among younger ones, in position order, so that
 * each key's order holds as well.
 *
 * A crash after `read` or in the middle of sending: the next holder reads the same batches again, from the last settled
 * row. After sending, before `settle`: the same, so receivers see duplicates. A frozen holder that wakes up: its next
 * write appends nothing, and it has lost the lease.
 *
 * Costs one statement to poll and one commit to settle a batch; of several pages, one commit more to announce it. They
 * share a commit with whatever is to be written at that moment.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Clock } from '../../contract/clock.ts';
import type { FailureRow, OutboxLease, OutboxRow } from '../../contract/store.ts';
import { failureJson } from './failures.ts';
import type { Statements } from './port.ts';
import { rewound, trimLog, write, type Hold, type Position } from './position.ts';
import { lowest, page, poll, restored, xmaxOf } from './reading.ts';
import type { Page, Restored, Snapshot } from './reading.ts';
import type { Lsn } from './wal/pgoutput.ts';
import type { Batch, Mine } from './wal/mine.ts';

/** Batches announced and not settled, at most: each is a snapshot in every row of the log. */
const batchesMax = 8;
/** Of the lease's time, by this process's own clock: past it nothing is handed out to be sent. */
const safeShare = 0.8;
/** The log keeps this many rows, and is cut back this often. */
const logKept = 100;
const trimEvery = 200;

interface Row {
  readonly position: number;
  readonly id: string;
  readonly source: string;
}

/** What is being published: a batch between two snapshots, or what a restored cluster had not published. */
interface Reading {
  readonly from: { readonly base: Snapshot; readonly target: Snapshot } | Restored;
  /** Read up to here. */
  after: number;
  /** Settled up to here. */
  settled: number;
  /** Asked for when it is needed, once. */
  lowest: Promise<number | undefined> | undefined;
  /** All of it has been read. */
  ended: boolean;
  /** Read and not settled, in order. */
  readonly open: Row[];
  /** The log's stream that is bringing the rest of it. */
  stream?: number | undefined;
  /** Where the log goes on after it, if that is where it came from. */
  end?: Lsn | undefined;
}

export interface LeaseOptions {
  /** Quoted. */
  readonly schema: string;
  readonly clock: Clock;
  readonly owner: string;
  readonly leaseMs: number;
  readonly taken: Hold & Position;
  /** When `taken` was asked for. */
  readonly askedMs: number;
  /** Opens the log. @param renew whether the lease is held still */
  readonly mine?: ((renew: () => Promise<boolean>) => Mine) | undefined;
  /** Where to read, for the time being; undefined: where everything is written. */
  readonly reads?: () => Statements | undefined;
  /** Runs when the lease is over. */
  readonly closes: () => void;
}

export class Lease implements OutboxLease {
  readonly #sql: Statements;
  readonly #reads: () => Statements;
  readonly #schema: string;
  readonly #clock: Clock;
  readonly #owner: string;
  readonly #leaseMs: number;
  #hold: Hold;
  #base: Snapshot;
  #high: number;
  #floor: number;
  #resume: Position['resume'];
  /** What is being published, oldest first. */
  readonly #readings: Reading[] = [];
  /** An empty poll's snapshot: as good a base as the present one, once it is durable. */
  #seen: Snapshot | undefined;
  /** By the monotonic clock, when the last successful write was asked for. */
  #writtenMs: number;
  #writing: Promise<void> = Promise.resolve();
  #nextWrite: Promise<void> | undefined;
  #parked: object[] = [];
  #reading: Promise<unknown> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;
  #released = false;
  /** Where rows come from instead of polls, while it streams. */
  readonly mine: Mine | undefined;
  /** Of the log: everything before it is settled. */
  #end: Lsn = 0n;
  readonly #closes: () => void;

  constructor(sql: Statements, how: LeaseOptions) {
    this.#sql = sql;
    this.#reads = () => how.reads?.() ?? sql;
    this.#schema = how.schema;
    this.#clock = how.clock;
    this.#owner = how.owner;
    this.#leaseMs = how.leaseMs;
    this.#writtenMs = how.askedMs;
    this.mine = how.mine?.(() => this.renew());
    this.#closes = how.closes;
    const { taken } = how;
    this.#hold = { no: taken.no, epoch: taken.epoch };
    this.#base = taken.base;
    this.#high = taken.high;
    this.#floor = taken.floor;
    this.#resume = taken.resume;
    if (taken.resume === undefined) {
      taken.targets.forEach((target, i) => {
        this.#readings.push(reading({ base: taken.targets[i - 1] ?? taken.base, target }, i === 0 ? taken.after : 0));
      });
    } else {
      const { base, high, after, targets } = taken;
      this.#readings.push(reading({ to: taken.resume.to, high, base, target: targets[0], after }, taken.resume.done));
      this.#oldTargets = targets;
      this.#oldAfter = after;
    }
  }

  /** What an earlier cluster's relay had in hand stays as it was until its rows are published. */
  readonly #oldTargets: readonly Snapshot[] = [];
  readonly #oldAfter: number = 0;

  read(max: number): Promise<readonly OutboxRow[]> {
    const next = this.#reading.then(() => this.#read(max));
    this.#reading = next.catch(() => {});
    return next;
  }

  async #read(max: number): Promise<readonly OutboxRow[]> {
    for (;;) {
      this.#assertHeld();
      const current = this.#readings.find(({ ended }) => !ended);
      if (current === undefined) {
        const found = await this.#look(max);
        if (found === undefined) return [];
        if (found.length > 0) return this.#handOut(found);
        continue; // too many for one page, for instance
      }
      const rows = await this.#more(current, max);
      if (rows === undefined) return [];
      current.after = rows.at(-1)?.position ?? current.after;
      current.open.push(...rows);
      if (rows.length > 0) return this.#handOut(rows);
      if (this.#passSettled()) await this.#save();
    }
  }

  /** Nothing may be sent on the strength of a lease that another may have taken meanwhile. */
  #handOut(rows: readonly OutboxRow[]): readonly OutboxRow[] {
    this.#assertHeld();
    if (this.#clock.monotonic() - this.#writtenMs <= safeShare * this.#leaseMs) return rows;
    throw this.#fail(leaseLost());
  }

  /** Undefined: there is more, and it has not come yet. */
  async #more(current: Reading, max: number): Promise<readonly OutboxRow[] | undefined> {
    if (current.stream !== undefined && current.stream === this.mine?.reader.stream) {
      const piece = this.mine.reader.piece(max);
      if (piece?.end !== undefined) Object.assign(current, { ended: true, end: piece.end });
      return piece?.rows;
    }
    current.stream = undefined; // it broke: the rest is read here
    const { rows, last } = await this.#page(current, max);
    current.ended = last;
    return rows;
  }

  #page(current: Reading, max: number): Promise<Page> {
    const { from, after } = current;
    if ('to' in from) return restored(this.#reads(), this.#schema, from, { after, max });
    const batch = { ...from, floor: this.#floor };
    current.lowest ??= lowest(this.#reads(), this.#schema, batch);
    return current.lowest.then((found) => page(this.#reads(), this.#schema, batch, { after, lowest: found, max }));
  }

  /** Looks for a new batch. Its rows; none when it is to be looked at again; undefined when there is none. */
  async #look(max: number): Promise<readonly OutboxRow[] | undefined> {
    if (this.#resume !== undefined || this.#readings.length >= batchesMax) return undefined;
    const newest = this.#readings.at(-1)?.from as { target: Snapshot } | undefined;
    const base = newest?.target ?? this.#base;
    if (this.mine?.ready === true) return this.#lookIntoLog(this.mine, base, max);
    const stream = this.mine?.reader.stream; // before the poll: what it does not see, that stream brings
    const { seen, rows, whole } = await poll(this.#reads(), this.#schema, { base, floor: this.#floor, max });
    if (xmaxOf(seen) < xmaxOf(base)) throw rewound('The database hands out lower transaction ids than it did');
    if (rows.length === 0 && stream === undefined) {
      if (this.#readings.length === 0) this.#seen = seen;
      return undefined;
    }
    this.#add({ base, target: seen }, whole ? rows : undefined);
    // One that is all here is written down when it is settled; before that only where its pages are cut from it, or where
    // the lease has grown old and is to be shown to be held.
    if (!whole || this.#clock.monotonic() - this.#writtenMs >= (safeShare * this.#leaseMs) / 2) await this.#save();
    this.mine?.begin(stream, seen);
    return whole ? rows : [];
  }

  /** Takes a batch on: its rows, or undefined while they are to be read. */
  #add(from: { readonly base: Snapshot; readonly target: Snapshot }, rows: readonly Row[] | undefined): void {
    this.#seen = undefined;
    const found = reading(from, 0);
    this.#readings.push(found);
    found.ended = rows !== undefined;
    found.open.push(...(rows ?? []));
    this.#passSettled(); // one without rows
  }

  /** The same out of the log. Nothing has to be written down before: its target is what was taken, and settled as that. */
  async #lookIntoLog(mine: Mine, base: Snapshot, max: number): Promise<readonly OutboxRow[] | undefined> {
    const add = ({ rows, target, end, stream }: Batch): void => {
      this.#seen = undefined;
      this.#readings.push({ ...reading({ base, target }, 0), after: rows.at(-1)!.position, ended: end !== undefined, open: [...rows], end, stream });
    };
    const found = await mine.take({ base, floor: this.#floor, max, add });
    if (found?.kind === 'rows') return found.rows;
    if (found?.kind !== 'checked') return found && [];
    this.#add({ base, target: found.target }, found.missed ? undefined : []);
    await this.#save();
    return [];
  }

  async settle(position: number, parked: readonly FailureRow[]): Promise<void> {
    this.#assertHeld();
    const rows = this.#settledBy(position);
    for (const failure of parked) {
      const row = rows.find(({ id, source }) => id === failure.message.id && source === failure.message.source);
      this.#parked.push(failureJson(failure, row?.position));
    }
    this.#passSettled();
    await this.#save();
  }

  /** The rows that a settled position takes along, in the order in which they were read: they are open no more. */
  #settledBy(position: number): Row[] {
    const at = this.#readings.findIndex(({ open }) => open.some((row) => row.position === position));
    if (at < 0) return []; // settled before
    const taken: Row[] = [];
    this.#readings.slice(0, at + 1).forEach((one, i) => {
      const count = i < at ? one.open.length : one.open.findIndex((row) => row.position === position) + 1;
      const rows = one.open.splice(0, count);
      one.settled = rows.at(-1)?.position ?? one.settled;
      // an earlier cluster's `high` says which rows its snapshots speak of: it stays until those are published
      if (this.#resume === undefined) for (const row of rows) this.#high = Math.max(this.#high, row.position);
      taken.push(...rows);
    });
    return taken;
  }

  /** Moves the base over what is wholly settled; whether it moved. */
  #passSettled(): boolean {
    let moved = false;
    for (let first = this.#readings[0]; first?.ended === true && first.open.length === 0; first = this.#readings[0]) {
      this.#readings.shift();
      moved = true;
      this.#end = first.end ?? this.#end;
      if ('to' in first.from) {
        this.#base = this.#resume!.at;
        this.#floor = first.from.to;
        this.#high = Math.max(this.#high, first.from.to);
        this.#resume = undefined;
      } else this.#base = first.from.target;
    }
    return moved;
  }

  async renew(): Promise<boolean> {
    if (this.#failure !== undefined) return false;
    if (this.#readings.length === 0) {
      this.#base = this.#seen ?? this.#base; // a base must not age
      this.#end = this.mine?.passed ?? this.#end;
    }
    this.#seen = undefined;
    try {
      await this.#save();
      return true;
    } catch (error) {
      if (WaybillError.is(error, 'LEASE_LOST')) return false;
      throw error;
    }
  }

  async release(): Promise<void> {
    if (this.#failure !== undefined || this.#released) return;
    this.#released = true;
    try {
      await this.#save();
    } catch (error) {
      if (!WaybillError.is(error, 'LEASE_LOST')) throw error;
    } finally {
      this.#fail(leaseLost());
    }
  }

  /** Resolves when what stands in memory now is durable. Calls that come while a write is under way share the next. */
  #save(): Promise<void> {
    this.#nextWrite ??= this.#writing.then(async () => {
      this.#nextWrite = undefined;
      this.#assertHeld();
      const write = this.#write();
      this.#writing = write.catch(() => {});
      await write;
    });
    return this.#nextWrite;
  }

  async #write(): Promise<void> {
    const parked = this.#parked;
    this.#parked = [];
    const askedMs = this.#clock.monotonic();
    const end = this.#end;
    try {
      const no = await write(this.#sql, this.#schema, {
        hold: this.#hold,
        owner: this.#released ? '' : this.#owner,
        leaseMs: this.#released ? 0 : this.#leaseMs,
        position: this.#position(),
        parked,
      });
      if (no === undefined) throw leaseLost();
      this.#hold = { no, epoch: this.#hold.epoch };
      this.#writtenMs = askedMs;
      this.mine?.reader.confirm(end);
      if (no % trimEvery === 0) await trimLog(this.#sql, this.#schema, no - logKept);
    } catch (error) {
      this.#fail(error); // written or not: the log knows, this memory does not
      throw error;
    }
  }

  #fail(error: unknown): unknown {
    this.#failure ??= { error };
    this.mine?.reader.close();
    this.#closes();
    return this.#failure.error;
  }

  #position(): Position {
    const first = this.#readings[0];
    if (this.#resume !== undefined) {
      const done = first?.settled ?? this.#resume.done;
      return { base: this.#base, targets: this.#oldTargets, after: this.#oldAfter, high: this.#high, floor: this.#floor, resume: { ...this.#resume, done } };
    }
    return {
      base: this.#base,
      targets: this.#readings.map(({ from }) => (from as { target: Snapshot }).target),
      after: first?.settled ?? 0,
      high: this.#high,
      floor: this.#floor,
      resume: undefined,
    };
  }

  #assertHeld(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

function reading(from: Reading['from'], after: number): Reading {
  return { from, after, settled: after, lowest: undefined, ended: false, open: [] };
}

function leaseLost(): WaybillError {
  return new WaybillError('LEASE_LOST', 'Another instance sends now, or this one was held up for longer than its lease: it stands by.');
}
