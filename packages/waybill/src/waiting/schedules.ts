/**
 * Recurring messages: one row for each name, service-wide, that waits for its next time.
 *
 * In: a name, when, and a message. Out: at each time one message to the ledger, in the transaction that removes the row
 * and adds that of the next time. Guaranteed: never before its time by the store's clock; once per time, whoever does it: the removal decides
 * between two instances; times that passed while nobody ran happen once, at the next start. A crash before the commit
 * leaves the row due. Only an instance whose code has the schedule runs it.
 *
 * Cost: one commit per time; idle one read per second.
 */
import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import { type Loop, createLoop } from '../contract/loop.ts';
import type { MaybePromise, StoreSession, StoreTransaction, WaitingEntry, WaitingRow } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import { type NextDue, recurrenceOf } from './recurrence.ts';

/** A message of a schedule: checked when it was given, made anew for each time. */
export interface Scheduled<P> {
  readonly type: string;
  readonly kind: 'event' | 'command';
  prepare(id: string): Promise<P>;
}

export interface Schedules<P> {
  readonly loop: Loop;
  /** @throws WaybillError `INVALID_OPTION`, `DRIVER_MISSING` */
  set(name: string, when: unknown, message: Scheduled<P>): Promise<void>;
  /** For the whole service; false when there was none. */
  remove(name: string): Promise<boolean>;
}

const rowsMax = 100;
const pollMs = 1_000;
const namePattern = /^[a-z0-9][a-z0-9._-]{0,79}$/;

/** No subscription can have this name. */
export function schedulesOf(service: string): string {
  return `${service}.~schedules`;
}

export function createSchedules<P>(options: {
  service: string;
  store: StoreSession;
  clock: Clock;
  append: (tx: StoreTransaction, prepared: P) => MaybePromise<void>;
  trouble: (where: string, error: unknown) => void;
}): Schedules<P> {
  const { service, store, clock } = options;
  const { waiting, inspect } = store.ports;
  const subscription = schedulesOf(service);
  const known = new Map<string, { readonly spec: string; readonly next: NextDue; readonly message: Scheduled<P> }>();

  const entryOf = (name: string, dueMs: number, anchorMs: number): WaitingEntry => {
    const { spec, message } = known.get(name)!;
    return {
      subscription,
      message: {
        kind: message.kind,
        id: `schedule:${name}`,
        source: service,
        type: message.type,
        recipient: undefined,
        key: undefined,
        time: clock.now(),
        headers: { spec, anchor: String(anchorMs) },
        body: new Uint8Array(),
      },
      dueMs,
      attempt: 0,
      attempts: 1,
      firstFailedMs: undefined,
      error: undefined,
      reason: 'schedule',
      inOrder: false,
    };
  };

  /** This time's message, and the row of the next time; nothing when another instance was faster. */
  const run = async (row: WaitingRow, name: string): Promise<void> => {
    const { next, message } = known.get(name)!;
    const prepared = await message.prepare(`${row.message.id}:${Math.round(row.dueMs)}`);
    await transact(store, clock, async (tx) => {
      if (!(await waiting.settle(tx, row))) return;
      const anchorMs = Number(row.message.headers['anchor']);
      const dueMs = next(await waiting.nowMs(tx), anchorMs);
      if (dueMs !== undefined) await waiting.add(tx, [entryOf(name, dueMs, anchorMs)]);
      await options.append(tx, prepared);
    });
  };

  const loop = createLoop({
    clock,
    onError: (error) => options.trouble('sending what is scheduled', error),
    async turn() {
      if (known.size === 0) return pollMs;
      const { rows, nowMs, nextDueMs } = await waiting.due(subscription, 'now', rowsMax);
      const mine = rows.filter((row) => known.has(nameOf(row)));
      let failed = false;
      for (const row of mine) {
        try {
          await run(row, nameOf(row));
        } catch (error) {
          failed = true; // it stays due; the others go on
          options.trouble(`sending what is scheduled as ${nameOf(row)}`, error);
        }
      }
      if (mine.length > 0) return failed ? pollMs : 0;
      return nextDueMs === undefined ? pollMs : Math.max(1, Math.min(pollMs, nextDueMs - nowMs));
    },
  });

  return {
    loop,
    async set(name, when, message) {
      if (typeof name !== 'string' || !namePattern.test(name)) {
        throw new WaybillError('INVALID_OPTION', `schedule: the name ${JSON.stringify(name)} must be up to 80 lower-case letters, digits, dots, dashes and underscores`);
      }
      const { spec, next } = await recurrenceOf(name, when);
      const anchorMs = Math.ceil(await transact(store, clock, (tx) => waiting.nowMs(tx)));
      const dueMs = next(anchorMs, anchorMs);
      if (dueMs === undefined) throw new WaybillError('INVALID_OPTION', `schedule ${name}: it never comes any more`);
      known.set(name, { spec, next, message });
      const entry = entryOf(name, dueMs, anchorMs);
      await transact(store, clock, (tx) => waiting.add(tx, [entry])); // nothing when it is there
      const [there] = await inspect.waiting({ subscription, id: entry.message.id, limit: 1 });
      if (there && (there.message.headers['spec'] !== spec || there.message.type !== message.type)) {
        await transact(store, clock, async (tx) => {
          if (await waiting.settle(tx, there)) await waiting.add(tx, [entry]);
        });
      }
      loop.wake();
    },
    async remove(name) {
      known.delete(name);
      return transact(store, clock, (tx) => waiting.cancel(tx, `schedule:${name}`, subscription));
    },
  };
}

function nameOf({ message }: WaitingRow): string {
  return message.id.slice('schedule:'.length);
}
