import type { EventContract } from '../contract/contracts.ts';
import { sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { AnnexGround, BusInternals } from '../contract/internals.ts';
import type { Logger } from '../contract/signals.ts';
import type { ProjectionFailure } from '../contract/streams.ts';
import { transact } from '../contract/transact.ts';
import type { Reading } from './events.ts';
import { type ProjectionWorker, createProjectionWorker } from './projection-worker.ts';

export interface ProjectionContext<out Tx = unknown> {
  /** The transaction that also holds the projection's position. */
  readonly tx: Tx;
  /** Aborted when the bus stops or `timeoutMs` has passed. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Best effort after the commit, for caches and sockets: lost if the process dies. */
  afterCommit(fn: () => void): void;
}

export interface ProjectionOptions<Contracts extends readonly EventContract[], Tx> {
  /** What it takes; everything else in the log is passed over. */
  readonly events: Contracts;
  /** Empties the projection's table: `rebuild()` calls it in the transaction that sets the projection back to the beginning. */
  readonly reset?: (tx: Tx) => Promise<void> | void;
  /** Events to one transaction at most. @default 100 */
  readonly batch?: number;
  /** For one run of the handler, in milliseconds; then its transaction is undone. @default 30_000 */
  readonly timeoutMs?: number;
}

export interface ProjectionProgress {
  /** Events of the log that lie before it, whatever their type; 10,001 stands for more than 10,000. */
  readonly behind: number;
  readonly movedAt: Date | undefined;
  /** What it cannot take and tries again: then it stands before that event. */
  readonly failure: ProjectionFailure | undefined;
  /** Whether this instance works on it. */
  readonly active: boolean;
}

/** A projection, in the manner of a subscription. */
export interface Projection {
  readonly name: string;
  /** Resolves once this instance works on it, or stands by for another. */
  ready(): Promise<void>;
  /** This process stops working on it when the batch in hand is done; another instance may go on. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  progress(): Promise<ProjectionProgress>;
  /** Resolves to true once everything that is committed now has been taken; false at the timeout. */
  caughtUp(options: { timeoutMs: number }): Promise<boolean>;
  /**
   * Empties the table (`reset`) and begins again from the first event, in one transaction, whichever instance works on it.
   * Until it has caught up the table is incomplete: where that cannot be, build a second one under a new name.
   * @throws WaybillError `INVALID_OPTION` when the projection has no `reset`
   */
  rebuild(): Promise<void>;
}

const pollMs = 250;
/** Events before a projection are counted to here. */
const behindMax = 10_001;
const namePattern = /^[a-z0-9][a-z0-9._-]{0,149}$/;

export function createProjection(
  internals: BusInternals,
  { name, options, handler, reading }: { name: string; options: ProjectionOptions<any, any>; handler: unknown; reading: Reading },
): Projection {
  check(name, options, handler);
  let ground!: AnnexGround;
  let worker!: ProjectionWorker;
  internals.attach((of) => {
    ground = of;
    worker = createProjectionWorker(of, {
      name,
      reading,
      handler: handler as never,
      batch: options.batch ?? 100,
      timeoutMs: options.timeoutMs ?? 30_000,
    });
    return worker;
  });

  const look = async (upTo?: string): Promise<{ readonly end: string; readonly progress: ProjectionProgress }> => {
    const { ports } = await ground.store();
    const { end, projections } = await ports.streams!.progress(upTo);
    const state = projections.find((one) => one.name === name);
    const { behind, failure } = state ?? { behind: undefined, failure: undefined };
    const movedAt = state?.movedMs === undefined ? undefined : new Date(state.movedMs);
    return { end, progress: { behind: behind ?? (await untouched(upTo)), movedAt, failure, active: worker.active } };
  };

  /** Nobody has begun it: everything lies before it. With `upTo` it is asked only whether there is anything. */
  const untouched = async (upTo?: string): Promise<number> => {
    const { ports } = await ground.store();
    let count = 0;
    let cursor: string | undefined;
    for (let more = true; more && count < behindMax; ) {
      const page = await ports.streams!.scan(cursor, 1_000);
      count += page.events.length;
      cursor = page.next;
      more = page.more && upTo === undefined;
    }
    return Math.min(count, behindMax);
  };

  return {
    name,
    ready: () => worker.ready(),
    pause: () => worker.pause(),
    resume: () => worker.resume(),
    progress: async () => (await look()).progress,

    async caughtUp({ timeoutMs }) {
      if (!Number.isFinite(timeoutMs) || timeoutMs < 0) {
        throw new WaybillError('INVALID_OPTION', 'caughtUp: timeoutMs must be a number of milliseconds from 0 on');
      }
      const { clock } = ground;
      const deadline = clock.monotonic() + timeoutMs;
      const { end } = await look();
      for (;;) {
        if ((await look(end)).progress.behind === 0) return true;
        const leftMs = deadline - clock.monotonic();
        if (leftMs <= 0) return false;
        const heard = new AbortController();
        const stop = ground.signals.on('projected', ({ projection }) => projection === name && heard.abort());
        await sleep(clock, Math.min(pollMs, leftMs), heard.signal);
        stop();
      }
    },

    async rebuild() {
      const { reset } = options;
      if (!reset) throw new WaybillError('INVALID_OPTION', `the projection ${name} has no reset: say how its table is emptied, { reset: (tx) => … }`);
      if (ground.isInside()) throw new WaybillError('NESTED_TRANSACTION', 'rebuild inside a transaction or handler: it has one of its own');
      const store = await ground.store();
      await transact(store, ground.clock, async (tx) => {
        await store.ports.streams!.reset(tx, name); // first: whoever works on it is stopped by the row, not by chance
        await ground.within(tx, () => reset(tx.native));
      });
      ground.signals.emit('projection-rebuilt', { projection: name });
      worker.again();
    },
  };
}

function check(name: unknown, options: ProjectionOptions<any, any> | undefined, handler: unknown): void {
  const refuse = (why: string): never => {
    throw new WaybillError('INVALID_OPTION', `projection ${JSON.stringify(name)}: ${why}`);
  };
  if (typeof name !== 'string' || !namePattern.test(name)) refuse('a name is up to 150 lower-case letters, digits, dots, dashes and underscores');
  if (!Array.isArray(options?.events) || options.events.length === 0) refuse('pass { events: [A, B, …] }, the contracts that it takes');
  if (typeof handler !== 'function') refuse('pass a handler: async (events, ctx) => { … }');
  for (const [option, max] of [['batch', 10_000], ['timeoutMs', 86_400_000]] as const) {
    const value = options![option];
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1 || value > max)) refuse(`${option} must be a whole number from 1 to ${max}`);
  }
  if (options!.reset !== undefined && typeof options!.reset !== 'function') refuse('reset must be a function');
}
