/**
 * What the command line and the dashboard ask, in code. Reads go through the store's `Inspect` port and hold nothing
 * open; what changes something goes through the room that owns it.
 */
import type { Bus } from '../contract/api.ts';
import { WaybillError } from '../contract/errors.ts';
import type { FailureFilter, FailureGroup, OutboxEntry, Page } from '../contract/inspect.ts';
import { type BusInternals, internalsOf } from '../contract/internals.ts';
import type { FailedRow, WaitingRow } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import { replaysOf } from '../contract/replay.ts';
import { checkChoice, checkFilter } from './filters.ts';
import type { Finding } from '../contract/doctor.ts';
import { doctor } from './doctor.ts';
import { editFailure } from './edit.ts';
import { type AuditEntry, type AuditRange, audit } from './audit.ts';
import { type ListedReplay, type Replay, type ReplayOptions, abortReplay, listReplays, replay } from './replay.ts';
import { type Status, sentencesOf } from './status.ts';
import { type Topology, topologyOf } from './topology.ts';
import { type SagaFilter, type SagaInstance, checkSagas, sagaOf, sagasOf } from './sagas.ts';

export type { Finding, FindingCode } from '../contract/doctor.ts';
export type { AuditEntry, AuditRange, Gap } from './audit.ts';
export type { ListedReplay, Replay, ReplayOptions, ReplayProgress } from './replay.ts';
export type { FailureFilter, FailureGroup, OutboxEntry, Page } from '../contract/inspect.ts';
export type { SagaFilter, SagaInstance } from './sagas.ts';
export type { Status } from './status.ts';
export type { Topology, TopologyEntity } from './topology.ts';

/** A message that was given up. */
export interface Failure {
  /** Names it in `retry`, `edit` and `delete`. */
  readonly row: number;
  /** Undefined: it could not be sent. */
  readonly subscription: string | undefined;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly key: string | undefined;
  readonly code: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly attempts: number;
  readonly firstFailed: Date;
  readonly lastFailed: Date;
  readonly headers: Readonly<Record<string, string>>;
  /** The original bytes. */
  readonly body: Uint8Array;
}

/** A message that waits: delayed at the sender, or for its next run. */
export interface Waiting {
  readonly row: number;
  readonly subscription: string | undefined;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly key: string | undefined;
  readonly due: Date;
  readonly reason: WaitingRow['reason'];
  /** Runs so far, of `attempts` at most. */
  readonly attempt: number;
  readonly attempts: number;
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

export interface SubscriptionState {
  readonly name: string;
  readonly types: readonly string[];
  readonly order: string;
  readonly transaction: string;
  /** This instance works on it; false: it stands by. */
  readonly active: boolean;
  readonly sources: readonly { readonly source: string; readonly appliedUntil: Date; readonly waiting: number | undefined }[];
}

export interface Operations {
  readonly failures: {
    list(filter?: FailureFilter): Promise<Failure[]>;
    /** Failures that look alike: by subscription, type, code, and where they were thrown. */
    groups(): Promise<readonly FailureGroup[]>;
    /** Runs (or sends) them again, from the first attempt; answers how many. */
    retry(which: FailureFilter | { readonly rows: readonly number[] }): Promise<number>;
    /**
     * Runs (or sends) one again with other data, under the same id and headers; false when it was gone. The data is checked by
     * the contract with which the subscription reads it, and may change neither key nor sequence. What others were sent under
     * the id stays as it was.
     * @throws WaybillError `CONTRACT_VIOLATION`, `MESSAGE_TOO_LARGE`, `INVALID_OPTION`
     */
    edit(row: number, data: unknown): Promise<boolean>;
    delete(which: FailureFilter | { readonly rows: readonly number[] }): Promise<number>;
  };
  readonly waiting: {
    list(filter?: Page & { readonly subscription?: string | null }): Promise<Waiting[]>;
    /** Due now instead of later; false when it was gone. */
    run(row: number): Promise<boolean>;
    /** Takes it back for good; false when it was gone. */
    cancel(row: number): Promise<boolean>;
  };
  readonly sagas: {
    /** Instances, in the order they began; with their state. */
    list(filter?: SagaFilter): Promise<SagaInstance[]>;
    /** One instance, with what waits for it and what of it has failed; undefined when there is none. */
    show(saga: string, key: string): Promise<(SagaInstance & { readonly waiting: Waiting[]; readonly failures: Failure[] }) | undefined>;
    /**
     * The failure that parked it has been dealt with by hand (deleted, say): it is parked no longer, and a compensation
     * that stood still goes on. False when there is nothing that could go on.
     * @throws WaybillError `INVALID_OPTION` when this bus does not run the saga
     */
    resume(saga: string, key: string): Promise<boolean>;
    /** Versions of instances that have not ended and that no definition of this bus can serve; empty when all is well. */
    check(): Promise<{ readonly saga: string; readonly version: number; readonly instances: number; readonly why: string }[]>;
  };
  readonly outbox: {
    list(page?: Page & { readonly state?: OutboxEntry['state']; readonly id?: string }): Promise<readonly OutboxEntry[]>;
    /**
     * Publishes again, under the same ids, what this service published of these types in a range: for what a broker lost.
     * Receivers drop what they have. Answers how many. @throws WaybillError `INVALID_OPTION`, `CAPABILITY_MISSING`
     */
    republish(which: { readonly types: readonly string[]; readonly from?: Date; readonly to?: Date }): Promise<number>;
  };
  readonly subscriptions: {
    list(): Promise<SubscriptionState[]>;
    /**
     * Brings what publishers sent in a range to one subscription once more, beside its live traffic; what it has taken on
     * before is left out. It is stored: whichever instance of the service has the subscription goes on with it, also
     * after a restart. @throws WaybillError `INVALID_OPTION`
     */
    replay(name: string, options: ReplayOptions): Promise<Replay>;
    /** Replays of this service that go on, and for a week those that are over. */
    replays(): Promise<ListedReplay[]>;
    /** Reads no more of it; false when it was over. */
    abortReplay(id: string): Promise<boolean>;
  };
  /** Compares publishers' ledgers with the inboxes of this bus's subscriptions: one entry for each and each source. */
  audit(range?: AuditRange): Promise<AuditEntry[]>;
  /**
   * What this bus takes, from whom it has come, and what stands, or is to stand, at the broker for it. That is told by the
   * bus's declarations alone: it need not have started, and the broker need not be there. With `compare` the broker is asked
   * how each of it stands; nothing is created.
   * @throws WaybillError with `compare` `TRANSPORT_UNREACHABLE`, `TRANSPORT_DENIED`
   */
  topology(how?: { readonly compare?: boolean }): Promise<Topology>;
  /**
   * Makes at the broker what `start()` would, and receives nothing: for a deploy step that may manage it where the service may
   * not, and so that a subscription is there before its publisher first runs. Safe to repeat. The store is opened only where the
   * transport is made of it. What takes over from a former name (`left`) is left to the start.
   * @throws WaybillError `TRANSPORT_UNREACHABLE`, `TRANSPORT_DENIED`, `TOPOLOGY_MISSING`, `TOPOLOGY_CONFLICT`
   */
  applyTopology(): Promise<{ readonly left: readonly string[] }>;
  /**
   * What would break a promise (`unsafe`) or is about to hurt (`warning`) in the store, its server, the broker and the options;
   * empty when all is well. docs/doctor.md lists the findings.
   */
  doctor(): Promise<Finding[]>;
  /** Is anything failing, stuck (unsent for a minute), behind or silent? Counts, and a sentence for each that is so. */
  status(): Promise<Status>;
}

/** Messages to one transaction. */
const republishMax = 200;

async function republish(internals: BusInternals, { types, from, to }: { readonly types: readonly string[]; readonly from?: Date; readonly to?: Date }): Promise<number> {
  if (!Array.isArray(types) || types.length === 0) throw new WaybillError('INVALID_OPTION', 'republish: name the types, for instance { types: [PriceChanged.type] }');
  const { outbox } = (await internals.store()).ports;
  if (!outbox.history) throw new WaybillError('CAPABILITY_MISSING', 'this store cannot read what was published again');
  const untilMs = to?.getTime() ?? internals.clock.now(); // not at it: what is published again here comes later
  let count = 0;
  let after: string | undefined;
  for (let more = true; more; ) {
    const page = await outbox.history({ types, after, sinceMs: from?.getTime(), untilMs, max: republishMax });
    if (page.messages.length > 0) await internals.republish(page.messages);
    count += page.messages.length;
    ({ next: after, more } = page);
  }
  return count;
}

/** Rows of one page when a filter is followed to its end. */
const pageMax = 500;
/** Rows of a saga's subscription that are looked through for those of one instance. */
const shownMax = 1_000;
/** Failures that one call moves; the rest is left for the next. */
const movedMax = 100_000;

/** The operations of one bus's service, on its own store. Works before `start()` too. */
export function operations(bus: Bus): Operations {
  const internals = internalsOf(bus);
  const inspect = async () => (await internals.store()).ports.inspect;

  return {
    failures: {
      list: async (filter = {}) => (await (await inspect()).failures(checkFilter('failures', filter))).map(failureOf),
      groups: async () => (await inspect()).failureGroups(),
      retry: async (which) => (await internals.failures()).retry(await rowsOf(internals, which)),
      edit: (row, data) => editFailure(internals, row, data),
      delete: async (which) => (await internals.failures()).delete(await rowsOf(internals, which)),
    },
    waiting: {
      list: async (filter = {}) => (await waitingRows(internals, checkFilter('waiting', filter))).map(waitingOf),
      run: (row) => settleWaiting(internals, row, { dueMs: 'now' }),
      cancel: (row) => settleWaiting(internals, row, undefined),
    },
    sagas: {
      list: async (filter = {}) => (await sagasOf(internals)).list(checkFilter('sagas', filter)).then((rows) => rows.map(sagaOf)),
      show: (saga, key) => showSaga(internals, saga, key),
      resume: (saga, key) => internals.resumeSaga(fullName(internals, saga), key),
      check: () => checkSagas(internals),
    },
    outbox: { list: async (page = {}) => (await inspect()).outbox(checkFilter('outbox', page)), republish: (which) => republish(internals, which) },
    subscriptions: {
      list: async () =>
        internals.subscriptions().map(({ plan, active, sources }) => ({
          name: plan.name,
          types: [...plan.handlers].filter(([, taker]) => !taker.own).map(([type]) => type),
          order: plan.order,
          transaction: plan.mode,
          active,
          sources: sources.map(({ source, appliedUntilMs, waiting }) => ({ source, appliedUntil: new Date(appliedUntilMs), waiting })),
        })),
      replay: (name, options) => replay(internals, name, options),
      replays: () => listReplays(internals),
      abortReplay: (id) => abortReplay(internals, id),
    },
    audit: (range) => audit(internals, range),
    topology: (how) => topologyOf(internals, how),
    applyTopology: () => internals.topology.apply(),
    doctor: () => doctor(internals),
    status: () => statusOf(bus, internals),
  };
}

function fullName({ service }: BusInternals, saga: string): string {
  return saga.startsWith(`${service}.`) ? saga : `${service}.${saga}`;
}

async function showSaga(internals: BusInternals, saga: string, key: string): ReturnType<Operations['sagas']['show']> {
  const name = fullName(internals, saga);
  const [row] = await (await sagasOf(internals)).list({ saga: name, key, limit: 1 });
  if (!row) return undefined;
  const { inspect } = (await internals.store()).ports;
  const isOf = ({ message }: { message: { key: string | undefined } }): boolean => message.key === key;
  const waiting = (await inspect.waiting({ subscription: name, limit: shownMax })).filter(isOf);
  const failures = (await inspect.failures({ subscription: name, limit: shownMax })).filter(isOf);
  return { ...sagaOf(row), waiting: waiting.map(waitingOf), failures: failures.map(failureOf) };
}

async function rowsOf(internals: BusInternals, which: FailureFilter | { readonly rows: readonly number[] }): Promise<number[]> {
  if (typeof which === 'object' && which !== null && 'rows' in which) {
    if (!Array.isArray(which.rows) || !which.rows.every(Number.isSafeInteger)) {
      throw new WaybillError('INVALID_OPTION', 'failures: pass the row numbers of listed failures');
    }
    return [...which.rows];
  }
  checkChoice('failures', which);
  const { inspect } = (await internals.store()).ports;
  const rows: number[] = [];
  for (let after = which.after ?? 0; rows.length < movedMax; ) {
    const page = await inspect.failures({ ...which, after, limit: pageMax });
    rows.push(...page.map((failed) => failed.row));
    if (page.length < pageMax) break;
    after = page.at(-1)!.row;
  }
  return rows;
}

/** What waits, without the replays, which wait in the same table and have a list of their own. */
async function waitingRows(internals: BusInternals, filter: Page & { readonly subscription?: string | null }): Promise<WaitingRow[]> {
  const { inspect } = (await internals.store()).ports;
  const limit = Math.min(filter.limit ?? 100, 1_000);
  const rows: WaitingRow[] = [];
  for (let after = filter.after ?? 0, left = limit; left > 0; left = limit - rows.length) {
    const page = await inspect.waiting({ ...filter, after, limit: left });
    rows.push(...page.filter((row) => !isReplay(internals, row)));
    if (page.length < left) break;
    after = page.at(-1)!.row;
  }
  return rows;
}

function isReplay({ service }: BusInternals, row: WaitingRow): boolean {
  return row.subscription === replaysOf(service);
}

async function statusOf(bus: Bus, internals: BusInternals): Promise<Status> {
  const { inspect } = (await internals.store()).ports;
  const [counts, replays] = await Promise.all([inspect.counts(), inspect.waiting({ subscription: replaysOf(internals.service), limit: 1_000 })]);
  const all = { ...counts, waiting: Math.max(0, counts.waiting - replays.length) };
  return { ...all, sentences: await sentencesOf(bus, inspect, { counts: all, nowMs: internals.clock.now() }) };
}

async function settleWaiting(internals: BusInternals, row: number, next: { dueMs: 'now' } | undefined): Promise<boolean> {
  if (!Number.isSafeInteger(row)) throw new WaybillError('INVALID_OPTION', 'waiting: pass the row number of a listed entry');
  const store = await internals.store();
  const [found] = await store.ports.inspect.waiting({ after: row - 1, limit: 1 });
  if (found?.row !== row || isReplay(internals, found)) return false;
  const done = await transact(store, internals.clock, (tx) => store.ports.waiting.settle(tx, found, next));
  internals.wake();
  return done;
}

function failureOf(row: FailedRow): Failure {
  const { message, error } = row;
  return {
    row: row.row,
    subscription: row.subscription,
    id: message.id,
    source: message.source,
    type: message.type,
    key: message.key,
    code: error.code,
    message: error.message,
    stack: error.stack,
    attempts: row.attempts,
    firstFailed: new Date(row.firstFailedMs),
    lastFailed: new Date(row.lastFailedMs),
    headers: message.headers,
    body: message.body,
  };
}

function waitingOf(row: WaitingRow): Waiting {
  const { message } = row;
  return {
    row: row.row,
    subscription: row.subscription,
    id: message.id,
    source: message.source,
    type: message.type,
    key: message.key,
    due: new Date(row.dueMs),
    reason: row.reason,
    attempt: row.attempt,
    attempts: row.attempts,
    error: row.error && { code: row.error.code, message: row.error.message },
  };
}
