/**
 * One instance's work on a projection. Its states, and what moves it:
 *
 *     idle ─start─► standby ◄──lost, error── working          paused, stopped: the lease is given back
 *                      └──────acquired────────▲
 *
 * Working: a page of the log, then one transaction with the fence, the handler's writes and the new position. A handler
 * that throws has its transaction undone; the batch is halved until the event that it cannot take stands alone, and that
 * one is tried again, with growing pauses, for ever: the reason stands in the store, and no later event passes it.
 */
import { sleep } from '../contract/clock.ts';
import { WaybillError, asError } from '../contract/errors.ts';
import { storedError } from '../contract/failure.ts';
import type { Annex, AnnexGround } from '../contract/internals.ts';
import { createLoop } from '../contract/loop.ts';
import type { StoreSession } from '../contract/store.ts';
import type { LogPage, ProjectionFailure, ProjectionLease, StoredEvent } from '../contract/streams.ts';
import type { Reading, RecordedEvent } from './events.ts';

export interface ProjectionWorker extends Annex {
  readonly active: boolean;
  ready(): Promise<void>;
  /** Its lease was taken from it: look at what is stored. */
  again(): void;
  pause(): Promise<void>;
  resume(): Promise<void>;
}

const leaseMs = 3_000;
const renewMs = 1_000;
/** What no hint announced (another process appended) is found this soon. */
const pollMs = 250;
/** While another instance holds the lease, or this one is paused. */
const standbyMs = 500;
/** Before an event that cannot be taken is tried again; doubles to the maximum. */
const retryFirstMs = 1_000;
const retryMaxMs = 60_000;
/** After the drain, for a handler that hears nothing. */
const graceMs = 5_000;

interface Work {
  readonly name: string;
  readonly reading: Reading;
  readonly handler: (events: readonly RecordedEvent<any>[], ctx: object) => unknown;
  readonly batch: number;
  readonly timeoutMs: number;
}

export function createProjectionWorker(ground: AnnexGround, { name, reading, handler, batch, timeoutMs }: Work): ProjectionWorker {
  const { clock, signals, logger } = ground;
  const givingUp = new AbortController();
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => {});
  let lease: ProjectionLease | undefined;
  let cursor: string | undefined;
  let renewedMs = 0;
  let max = batch;
  let failure: ProjectionFailure | undefined;
  let retryAtMs = 0;
  let paused = false;
  let started = false;
  let lost = false;
  let running = 0;
  let parked: (() => void) | undefined;

  const forget = async (): Promise<void> => {
    const held = lease;
    lease = undefined;
    await held?.release().catch(() => {});
  };

  const turn = async (): Promise<number> => {
    if (paused) {
      await forget();
      parked?.();
      return standbyMs;
    }
    if (lost) {
      lost = false;
      lease = undefined;
    }
    try {
      return await step(await ground.store());
    } catch (error) {
      // A lost lease, a store that is away: all memory goes, the position in the store is the truth.
      await forget();
      if (WaybillError.is(error, 'LEASE_LOST')) return 0;
      ready.reject(error);
      throw error;
    }
  };

  const step = async (store: StoreSession): Promise<number> => {
    const port = store.ports.streams;
    if (!port) throw new WaybillError('CAPABILITY_MISSING', `the projection ${name} needs a store with an event store`);
    if (!lease) {
      lease = await port.acquire(name, owner, leaseMs);
      ready.resolve();
      if (!lease) return standbyMs;
      ({ cursor, failure } = lease);
      renewedMs = clock.monotonic();
    }
    if (failure && clock.monotonic() < retryAtMs) {
      await renew();
      return Math.min(renewMs, Math.max(1, retryAtMs - clock.monotonic()));
    }
    const page = await port.scan(cursor, max);
    if (page.next === cursor) {
      await renew();
      return pollMs;
    }
    await take(store, page);
    return 0;
  };

  const renew = async (): Promise<void> => {
    if (clock.monotonic() - renewedMs < renewMs) return;
    if (!(await lease!.renew(failure))) lease = undefined;
    renewedMs = clock.monotonic();
  };

  /** The page, or what of it a handler that throws can take. */
  const take = async (store: StoreSession, page: LogPage): Promise<void> => {
    const next = page.next!;
    const wanted = page.events.filter((event) => reading.types.has(event.type));
    running = wanted.length;
    try {
      await apply(store, wanted, next);
      cursor = next;
      failure = undefined;
      max = Math.min(batch, max * 2);
      if (wanted.length > 0) signals.emit('projected', { projection: name, events: wanted.length, cursor });
    } catch (error) {
      if (givingUp.signal.aborted || WaybillError.is(error, 'LEASE_LOST') || store.classify(error) !== 'other' || wanted.length === 0) throw error;
      if (page.events.length > 1) max = Math.ceil(page.events.length / 2);
      else await stumble(wanted[0]!, error);
    } finally {
      running = 0;
    }
  };

  const apply = async (store: StoreSession, wanted: readonly StoredEvent[], next: string): Promise<void> => {
    const held = lease!;
    const events: RecordedEvent<any>[] = [];
    for (const event of wanted) events.push(await reading.read(event));
    await store.transaction(async (tx) => {
      await held.settleIn(tx); // nothing is written by an instance that has lost its lease
      if (events.length > 0) {
        await bounded(async (signal) => {
          const ctx = { tx: tx.native, signal, logger, afterCommit: (fn: () => void) => tx.afterCommit(fn) };
          await ground.within(tx, async () => void (await handler(events, ctx)));
        });
      }
      await held.settleIn(tx, next);
    });
    renewedMs = clock.monotonic();
  };

  /** A run that does not end is abandoned: its signal is aborted, its transaction undone. */
  const bounded = (work: (signal: AbortSignal) => Promise<void>): Promise<void> =>
    new Promise((resolve, reject) => {
      const over = new AbortController();
      const abandon = (error: WaybillError): void => {
        end();
        over.abort(error);
        reject(error);
      };
      const stopped = (): void => abandon(new WaybillError('STOPPED', `${name}: the bus was stopped before the handler ended; the events come again`));
      const cancel = clock.after(timeoutMs, () =>
        abandon(new WaybillError('HANDLER_TIMEOUT', `${name}: the handler ran longer than ${timeoutMs} ms; shorten it, or raise timeoutMs`)),
      );
      const end = (): void => {
        cancel();
        givingUp.signal.removeEventListener('abort', stopped);
      };
      givingUp.signal.addEventListener('abort', stopped, { once: true });
      if (givingUp.signal.aborted) return stopped();
      work(over.signal).finally(end).then(resolve, reject);
    });

  /** The one event that it cannot take: said in the store, and tried again. */
  const stumble = async ({ stream, version }: StoredEvent, error: unknown): Promise<void> => {
    const attempts = (failure?.attempts ?? 0) + 1;
    const { code, message } = storedError(error, 'HANDLER_FAILED');
    failure = { code, message, stream, version, attempts };
    const retryMs = Math.min(retryFirstMs * 2 ** Math.min(attempts - 1, 20), retryMaxMs);
    retryAtMs = clock.monotonic() + retryMs;
    if (!(await lease!.renew(failure))) lease = undefined;
    renewedMs = clock.monotonic();
    signals.emit('projection-failed', { projection: name, stream, version, attempt: attempts, retryMs, error: asError(error) });
  };

  const owner = clock.id();
  const loop = createLoop({ clock, turn, onError: (error) => signals.emit('trouble', { where: `the projection ${name}`, error }) });

  return {
    get active() {
      return lease !== undefined;
    },
    ready: () => ready.promise,
    start() {
      started = true;
      loop.start();
    },
    wake: () => loop.wake(),
    inFlight: () => running,
    async outstanding(ports) {
      if (!started || paused || failure || !lease) return undefined;
      const state = (await ports.streams!.progress()).projections.find((one) => one.name === name);
      return state && state.behind > 0 ? `${name}: ${state.behind} events are not projected` : undefined;
    },
    again() {
      lost = true;
      loop.wake();
    },
    async pause() {
      if (paused) return;
      paused = true;
      if (!started) return;
      const done = new Promise<void>((resolve) => {
        parked = resolve;
      });
      loop.wake();
      if (!ground.isInside()) await done; // a handler must not wait for its own end
    },
    async resume() {
      paused = false;
      parked = undefined;
      loop.wake();
    },
    async stop(drainMs) {
      const stopping = loop.stop();
      const limit = new AbortController();
      await Promise.race([stopping, sleep(clock, drainMs, limit.signal)]);
      limit.abort();
      givingUp.abort();
      const over = new AbortController();
      await Promise.race([stopping, sleep(clock, graceMs, over.signal)]);
      over.abort();
      ready.reject(new WaybillError('STOPPED', `${name}: the bus was stopped before the projection was ready`));
      parked?.();
      await forget();
    },
  };
}
