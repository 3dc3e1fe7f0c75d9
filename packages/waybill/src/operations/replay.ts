/**
 * Messages that publishers sent before, once more to one subscription, beside its live traffic.
 *
 * Pages of the publishers' ledgers become waiting rows of the subscription, in the transaction that asks its inbox: what
 * was taken on before is left out, unless it is asked for. From there they go the ordinary way: retries, failures, the
 * order of each key, behind whose replayed messages later live ones line up. A crash leaves whole pages; a second replay
 * of the same range leaves out what the first has done.
 */
import { sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Plan } from '../contract/handling.ts';
import type { History } from '../contract/history.ts';
import type { BusInternals } from '../contract/internals.ts';
import type { WireMessage } from '../contract/message.ts';
import type { StoreSession, WaitingEntry } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import { versionsOf } from '../contract/versions.ts';

export interface ReplayOptions {
  /** What was committed from then on; `'beginning'`: as far back as the ledgers reach. */
  readonly from: 'beginning' | Date;
  /** What was committed before then. @default now */
  readonly to?: Date;
  /** Of these services only. @default all that can be asked */
  readonly sources?: readonly string[];
  /** Goes on where another replay stood: its `progress().next`. */
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
}

export interface Replay {
  progress(): ReplayProgress;
  /** Resolves when everything was read and what was added has left the line; rejects when a source cannot be read. */
  readonly done: Promise<ReplayProgress>;
  /** Reads no more. What stands in the line already (some hundreds) is still applied. */
  abort(): void;
}

const pageMax = 200;
/** Replayed messages in the line of the subscription at most: live ones of their keys wait behind them. */
const lineMax = 500;
const lookMs = 250;

export async function replay(internals: BusInternals, name: string, options: ReplayOptions): Promise<Replay> {
  const plan = planOf(internals, name);
  const sinceMs = options.from === 'beginning' ? undefined : timeOf('from', options.from);
  const untilMs = options.to === undefined ? internals.clock.now() + 1 : timeOf('to', options.to);
  const perSecond = options.perSecond ?? 1_000;
  if (!(perSecond > 0)) throw new WaybillError('INVALID_OPTION', 'replay: perSecond must be a number above 0');
  const history = await internals.history();
  const sources = options.sources ?? (await history.sources());
  const run = new Run(internals, plan, { history, sources, sinceMs, untilMs, perSecond, again: options.again ?? false, after: { ...options.after } });
  const done = run.all();
  done.catch(() => {}); // whoever wants to know awaits it
  return { progress: () => run.progress(), done, abort: () => run.stopping.abort() };
}

interface Range {
  readonly history: History;
  readonly sources: readonly string[];
  readonly sinceMs: number | undefined;
  readonly untilMs: number;
  readonly perSecond: number;
  readonly again: boolean;
  /** Moves. */
  readonly after: Record<string, string>;
}

class Run {
  readonly stopping = new AbortController();
  readonly #internals: BusInternals;
  readonly #plan: Plan;
  readonly #range: Range;
  readonly #types: readonly string[];
  readonly #trimmed: string[] = [];
  #read = 0;
  #added = 0;
  #known = 0;
  #state: ReplayProgress['state'] = 'running';

  constructor(internals: BusInternals, plan: Plan, range: Range) {
    this.#internals = internals;
    this.#plan = plan;
    this.#range = range;
    this.#types = typesOf(plan);
  }

  progress(): ReplayProgress {
    return { read: this.#read, added: this.#added, known: this.#known, next: { ...this.#range.after }, trimmed: [...this.#trimmed], state: this.#state };
  }

  async all(): Promise<ReplayProgress> {
    try {
      const store = await this.#internals.store();
      for (const source of this.#range.sources) await this.#source(store, source);
      while (!this.#aborted && (await this.#inLine(store)) > 0) await this.#sleep(lookMs);
      this.#state = this.#aborted ? 'aborted' : 'done';
    } catch (error) {
      this.#state = 'failed';
      throw error;
    }
    return this.progress();
  }

  async #source(store: StoreSession, source: string): Promise<void> {
    const { history, after, sinceMs, untilMs, perSecond } = this.#range;
    for (let more = true; more && !this.#aborted; ) {
      const page = await history.read(source, { types: this.#types, after: after[source], sinceMs, untilMs, max: pageMax });
      if (page.trimmed && !this.#trimmed.includes(source)) this.#trimmed.push(source);
      if (page.messages.length > 0) {
        await this.#add(store, page.messages);
        this.#internals.wake();
      }
      if (page.next !== undefined) after[source] = page.next;
      ({ more } = page);
      await this.#sleep((page.messages.length / perSecond) * 1_000);
      while (!this.#aborted && (await this.#inLine(store)) >= lineMax) await this.#sleep(lookMs);
    }
  }

  async #add(store: StoreSession, messages: readonly WireMessage[]): Promise<void> {
    const { inbox, waiting, inspect } = store.ports;
    const { name } = this.#plan;
    const { clock } = this.#internals;
    // An older form is left to the newer one that travelled under the same id.
    const wanted = messages.filter(({ headers }) => !this.#types.includes(headers['ce-waybilldowncastof'] ?? ''));
    const pending = new Set<WireMessage>();
    const standing = this.#range.again ? await inspect.standing(name, wanted) : [];
    standing.forEach((one, i) => void ((one === 'waiting' || one === 'failed') && pending.add(wanted[i]!)));
    const added = await transact(store, clock, async (tx) => {
      const fresh = await inbox.insert(tx, name, wanted);
      const some = wanted.filter((message, i) => fresh[i] || (this.#range.again && !pending.has(message)));
      await waiting.add(tx, some.map((message) => this.#entry(message)));
      return some.length;
    });
    this.#read += messages.length;
    this.#added += added;
    this.#known += messages.length - added;
    this.#internals.signals.emit('replayed', { subscription: name, source: messages[0]!.source, read: messages.length, added });
  }

  #entry(message: WireMessage): WaitingEntry {
    const { name, order, retry } = this.#plan;
    return {
      subscription: name,
      message,
      dueMs: 'now',
      attempt: 0,
      attempts: 1 + retry.immediate + retry.delayed,
      firstFailedMs: undefined,
      error: undefined,
      reason: 'replayed',
      inOrder: order === 'by-key' && message.key !== undefined,
    };
  }

  /** Replayed messages that have not been run. */
  async #inLine({ ports }: StoreSession): Promise<number> {
    const rows = await ports.inspect.waiting({ subscription: this.#plan.name, limit: 1_000 });
    return rows.filter(({ reason }) => reason === 'replayed').length;
  }

  get #aborted(): boolean {
    return this.stopping.signal.aborted;
  }

  #sleep(ms: number): Promise<void> {
    return sleep(this.#internals.clock, ms, this.stopping.signal);
  }
}

/** Everything that a subscription takes from others, by type on the wire. */
export function typesOf(plan: Plan): string[] {
  return [...plan.handlers.values()].filter((taker) => !taker.own).flatMap(({ contract }) => versionsOf(contract).map(({ type }) => type));
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
