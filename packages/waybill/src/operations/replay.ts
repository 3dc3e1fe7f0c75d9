/**
 * Messages that publishers sent before, once more to one subscription, beside its live traffic: asked for, looked at, taken
 * back. What is asked for is a row; the room `inbox` does it (`replays.ts`).
 */
import { sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Plan } from '../contract/handling.ts';
import type { BusInternals } from '../contract/internals.ts';
import { type StoredReplay, readReplay, replayEntry, replayKeptMs, replayMessage, replaysOf } from '../contract/replay.ts';
import type { WaitingRow } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';

export interface ReplayOptions {
  /** What was committed from then on; `'beginning'`: as far back as the ledgers reach. */
  readonly from: 'beginning' | Date;
  /** What was committed before then. @default now */
  readonly to?: Date;
  /** Of these services only. @default all that can be asked */
  readonly sources?: readonly string[];
  /** Goes on where another replay stood: the `next` of its progress. */
  readonly after?: Readonly<Record<string, string>>;
  /** Messages read per second at most. @default 1_000 */
  readonly perSecond?: number;
  /**
   * Runs what was applied before, too. Only for handlers that may (a table that was emptied). Whatever waits or has failed
   * is left to its retry; with order `latest` a watermark still leaves out what is stale. @default false
   */
  readonly again?: boolean;
}

export interface ReplayProgress {
  /** Messages of the range that the subscription takes. */
  readonly read: number;
  /** Of these, handed to the subscription. */
  readonly added: number;
  /** Of these, left out: taken on before. */
  readonly known: number;
  /** How far it has read, by source: for `after`. */
  readonly next: Readonly<Record<string, string>>;
  /** Sources whose ledgers did not reach back to `from`, or perhaps not. */
  readonly trimmed: readonly string[];
  readonly state: 'running' | 'aborted' | 'done' | 'failed';
  /** Why the source cannot be read just now, or could not for an hour. */
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

export interface Replay {
  readonly id: string;
  /** As it is stored now. */
  progress(): Promise<ReplayProgress>;
  /**
   * Resolves when everything was read and what was added has left the line, or it was aborted; rejects when a source could
   * not be read for an hour. It goes on whether or not anybody waits.
   */
  readonly done: Promise<ReplayProgress>;
  /** Reads no more. What stands in the line already (some hundreds) is still applied. */
  abort(): Promise<void>;
}

/** A replay in the list: those that go on, and for a week those that are over. */
export interface ListedReplay extends ReplayProgress {
  readonly id: string;
  readonly subscription: string;
  readonly asked: Date;
}

const lookMs = 250;
const listMax = 1_000;

export async function replay(internals: BusInternals, name: string, options: ReplayOptions): Promise<Replay> {
  const { service, clock } = internals;
  const plan = planOf(internals, name);
  const sinceMs = options.from === 'beginning' ? undefined : timeOf('from', options.from);
  const givenMs = options.to === undefined ? undefined : timeOf('to', options.to);
  const perSecond = options.perSecond ?? 1_000;
  if (!(perSecond > 0)) throw new WaybillError('INVALID_OPTION', 'replay: perSecond must be a number above 0');
  const sources = options.sources ?? (await (await internals.history()).sources());
  const id = clock.id();
  const store = await internals.store();
  await transact(store, clock, async (tx) => {
    const askedMs = await store.ports.waiting.nowMs(tx);
    const asked: StoredReplay = {
      ...{ subscription: plan.name, askedMs, sources, perSecond, again: options.again ?? false },
      ...(sinceMs !== undefined && { sinceMs }),
      untilMs: givenMs ?? Math.floor(askedMs) + 1,
      after: options.after ?? {},
      ...{ finished: [], trimmed: [], read: 0, added: 0, known: 0, state: 'running', tries: 0 },
    };
    await store.ports.waiting.add(tx, [replayEntry(service, id, asked, 'now')]);
  });
  internals.wake();
  const done = untilOver(internals, id);
  done.catch(() => {}); // whoever wants to know awaits it
  return { id, progress: () => look(internals, id), done, abort: async () => void (await abortReplay(internals, id)) };
}

export async function listReplays(internals: BusInternals): Promise<ListedReplay[]> {
  const { inspect } = (await internals.store()).ports;
  const rows = await inspect.waiting({ subscription: replaysOf(internals.service), limit: listMax });
  return rows.map((row) => {
    const { id, replay: stored } = readReplay(row);
    return { id, subscription: stored.subscription, asked: new Date(stored.askedMs), ...progressOf(stored) };
  });
}

/** False when it was over, or there is none. */
export async function abortReplay(internals: BusInternals, id: string): Promise<boolean> {
  const { service, clock } = internals;
  const store = await internals.store();
  const { waiting } = store.ports;
  for (;;) {
    const row = await rowOf(internals, id);
    if (!row || readReplay(row).replay.state !== 'running') return false;
    const aborted: StoredReplay = { ...readReplay(row).replay, state: 'aborted' };
    const done = await transact(store, clock, async (tx) => {
      const dueMs = (await waiting.nowMs(tx)) + replayKeptMs;
      return waiting.settle(tx, row, { attempt: row.attempt + 1, dueMs, message: replayMessage(service, id, aborted) });
    });
    if (done) return true; // else a page was faster: each is paced
  }
}

async function untilOver(internals: BusInternals, id: string): Promise<ReplayProgress> {
  for (;;) {
    const progress = await look(internals, id);
    const { state, error } = progress;
    if (state === 'failed') throw new WaybillError('REPLAY_FAILED', `the replay ${id} gave up: ${error?.message ?? 'a source cannot be read'}; see what keeps the publisher, then ask for it again`);
    if (state !== 'running') return progress;
    await sleep(internals.clock, lookMs);
  }
}

async function look(internals: BusInternals, id: string): Promise<ReplayProgress> {
  const row = await rowOf(internals, id);
  if (row) return progressOf(readReplay(row).replay);
  throw new WaybillError('REPLAY_FAILED', `the replay ${id} is gone: somebody took its row out of what waits, or it was over a week ago`);
}

async function rowOf(internals: BusInternals, id: string): Promise<WaitingRow | undefined> {
  const { inspect } = (await internals.store()).ports;
  return (await inspect.waiting({ subscription: replaysOf(internals.service), id: `replay:${id}`, limit: 1 }))[0];
}

function progressOf({ read, added, known, after, trimmed, state, error }: StoredReplay): ReplayProgress {
  return { read, added, known, next: after, trimmed, state, error };
}

function planOf(internals: BusInternals, name: string): Plan {
  const full = name.startsWith(`${internals.service}.`) ? name : `${internals.service}.${name}`;
  const found = internals.subscriptions().find(({ plan }) => plan.name === full || plan.name === name);
  if (!found) throw new WaybillError('INVALID_OPTION', `replay: this bus has no subscription ${JSON.stringify(name)}`);
  if (found.plan.kind !== 'event') throw new WaybillError('INVALID_OPTION', `replay: ${found.plan.name} handles a command; a command is sent again by its sender`);
  return found.plan;
}

function timeOf(option: string, value: unknown): number {
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.getTime();
  throw new WaybillError('INVALID_OPTION', `replay: ${option} must be a valid Date${option === 'from' ? " or 'beginning'" : ''}`);
}
