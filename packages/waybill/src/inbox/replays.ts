/**
 * What publishers sent before, once more into one subscription, beside its live traffic (G8).
 *
 * In: the service's replays, each a waiting row with what was asked for and how far it is. Out: a page of a publisher's
 * ledger as waiting rows of the subscription, in the transaction that asks its inbox and writes the replay's next place:
 * what was taken on before is left out, unless it is asked for. From there they go the ordinary way: retries, failures, the order of each
 * key, behind whose replayed messages later live ones line up. Guaranteed: each page once, whichever instance brings it, also where what was applied
 * is run again. A crash leaves whole pages and the place of the next one; any instance that has the subscription goes on.
 *
 * Cost: per page of up to 200 messages one read of a ledger, one look at the line, one commit; idle one read in five seconds.
 */
import { asError, WaybillError } from '../contract/errors.ts';
import type { Decode, Plan } from '../contract/handling.ts';
import type { History } from '../contract/history.ts';
import type { Annex, AnnexGround } from '../contract/internals.ts';
import { createLoop } from '../contract/loop.ts';
import type { WireMessage } from '../contract/message.ts';
import { type StoredReplay, readReplay, replayKeptMs, replayMessage, replaysOf } from '../contract/replay.ts';
import type { StorePorts, StoreSession, StoreTransaction, WaitingEntry, WaitingRow } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import { typesOf } from '../contract/versions.ts';

const pageMax = 200;
/** Replayed messages in the line of the subscription at most: live ones of their keys wait behind them. */
const lineMax = 500;
const lookMs = 250;
/** Replays that go on side by side, a page each in turn. */
const rowsMax = 20;
/** What was asked for in another process is noticed this soon. */
const pollMs = 5_000;
/** A source that cannot be read is tried again after 1 s, 2 s … 60 s: for an hour. */
const triesMax = 64;
const retryMaxMs = 60_000;

export function createReplays(
  ground: AnnexGround,
  options: { readonly service: string; readonly history: () => History; readonly plans: () => readonly Plan[]; readonly decode: (plan: Plan) => Decode; readonly wake: (subscription: string) => void },
): Annex {
  const { clock, signals } = ground;
  const { service } = options;
  let working = 0;

  const planOf = ({ subscription }: StoredReplay): Plan | undefined => options.plans().find(({ name, formerly }) => name === subscription || formerly.includes(subscription));

  /** The next page, or a look at the line; answers how long there is nothing more to do for it. */
  const step = async (store: StoreSession, row: WaitingRow, replay: StoredReplay, plan: Plan): Promise<number> => {
    const source = replay.sources.find((one) => !replay.finished.includes(one));
    const inLine = await lineOf(store, plan.name, row.row);
    if (source === undefined) {
      if (inLine > 0) return lookMs;
      await write(store, row, { ...replay, state: 'done' }, replayKeptMs);
      return 0;
    }
    if (inLine >= lineMax) return lookMs;
    const types = typesOf(plan);
    const { sinceMs, untilMs, perSecond } = replay;
    const page = await options.history().read(source, { types, after: replay.after[source], sinceMs, untilMs, max: pageMax });
    // An older form is left to the newer one that travelled under the same id.
    const wanted = await keyed(plan, page.messages.filter(({ headers }) => !types.includes(headers['ce-waybilldowncastof'] ?? '')));
    const open = new Set(replay.again ? await openOf(store, plan.name, wanted) : []);
    const next = (added: number): StoredReplay => {
      const { error: _, ...rest } = replay;
      return {
        ...rest,
        after: page.next === undefined ? replay.after : { ...replay.after, [source]: page.next },
        finished: page.more ? replay.finished : [...replay.finished, source],
        trimmed: page.trimmed && !replay.trimmed.includes(source) ? [...replay.trimmed, source] : replay.trimmed,
        read: replay.read + page.messages.length,
        added: replay.added + added,
        known: replay.known + page.messages.length - added,
        tries: 0,
      };
    };
    const paceMs = (page.messages.length / perSecond) * 1_000;
    const add = async (tx: StoreTransaction): Promise<StoredReplay> => {
      if (wanted.length === 0) return next(0);
      const fresh = await store.ports.inbox.insert(tx, plan.name, wanted);
      const some = wanted.filter((message, i) => fresh[i] || (replay.again && !open.has(message)));
      await store.ports.waiting.add(tx, some.map((message) => entryOf(message, plan)));
      return next(some.length);
    };
    const written = await write(store, row, add, paceMs);
    if (!written) return pollMs * clock.random(); // another instance is at it
    if (wanted.length > 0) {
      signals.emit('replayed', { subscription: plan.name, source, read: page.messages.length, added: written.added - replay.added });
      options.wake(plan.name);
    }
    return paceMs;
  };

  /** With the keys that this subscription goes by, as live ones have them. */
  const keyed = (plan: Plan, messages: readonly WireMessage[]): Promise<WireMessage[]> => {
    const decode = options.decode(plan);
    return Promise.all(
      messages.map(async (message) => {
        const incoming = await decode(message);
        return incoming.kind === 'run' ? { ...message, key: incoming.key } : message;
      }),
    );
  };

  /** Writes where it is now, and what goes with that; undefined, and nothing written, when somebody else was faster. */
  const write = async (
    store: StoreSession,
    row: WaitingRow,
    next: StoredReplay | ((tx: StoreTransaction) => Promise<StoredReplay>),
    afterMs: number,
  ): Promise<StoredReplay | undefined> => {
    const { waiting } = store.ports;
    try {
      return await transact(store, clock, async (tx) => {
        // Held from here on by this transaction: nobody else brings the same page.
        if (!(await waiting.settle(tx, row, { attempt: row.attempt + 1 }))) throw new Overtaken();
        const replay = typeof next === 'function' ? await next(tx) : next;
        const dueMs = (await waiting.nowMs(tx)) + afterMs;
        const { id } = readReplay(row);
        await waiting.settle(tx, { ...row, attempt: row.attempt + 1 }, { dueMs, message: replayMessage(service, id, replay) });
        return replay;
      });
    } catch (error) {
      if (error instanceof Overtaken) return undefined;
      throw error;
    }
  };

  /** A publisher that is away is asked again, and in the end given up. */
  const failed = async (store: StoreSession, row: WaitingRow, replay: StoredReplay, thrown: unknown): Promise<void> => {
    const { message } = asError(thrown);
    const error = { code: WaybillError.is(thrown) ? thrown.code : 'HANDLER_FAILED', message: message.slice(0, 500) };
    const tries = replay.tries + 1;
    const over = tries >= triesMax;
    const pauseMs = Math.min(1_000 * 2 ** (tries - 1), retryMaxMs);
    await write(store, row, { ...replay, tries, error, ...(over && { state: 'failed' }) }, over ? replayKeptMs : pauseMs);
    signals.emit('trouble', { where: `the replay of ${replay.subscription}`, error: thrown });
  };

  const loop = createLoop({
    clock,
    onError: (error) => signals.emit('trouble', { where: 'replaying', error }),
    async turn(signal) {
      const store = await ground.store();
      const { rows, nowMs, nextDueMs } = await store.ports.waiting.due(replaysOf(service), 'now', rowsMax);
      let sleepMs = nextDueMs === undefined ? pollMs : Math.min(pollMs, Math.max(1, nextDueMs - nowMs));
      for (const row of rows) {
        if (signal.aborted) return 0;
        const { replay } = readReplay(row);
        const plan = planOf(replay);
        if (replay.state !== 'running') await transact(store, clock, (tx) => store.ports.waiting.settle(tx, row)); // out of the list
        if (replay.state !== 'running' || !plan) continue;
        working++;
        try {
          sleepMs = Math.min(sleepMs, await step(store, row, replay, plan));
        } catch (error) {
          if (signal.aborted || store.classify(error) !== 'other') throw error;
          await failed(store, row, replay, error);
          sleepMs = 0;
        } finally {
          working--;
        }
      }
      return sleepMs;
    },
  });

  return {
    start: () => loop.start(),
    stop: () => loop.stop(),
    wake: () => loop.wake(),
    inFlight: () => working,
    async outstanding({ waiting }: StorePorts) {
      const { rows } = await waiting.due(replaysOf(service), 'now', rowsMax);
      const mine = rows.map((row) => readReplay(row).replay).find((replay) => replay.state === 'running' && planOf(replay));
      return mine && `the replay of ${mine.subscription} is not over`;
    },
  };
}

/** Another instance wrote it, or somebody aborted it. */
class Overtaken extends Error {}

function entryOf(message: WireMessage, { name, order, retry }: Plan): WaitingEntry {
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

/** What waits or has failed is left to its retry, also where everything is to run again. */
async function openOf({ ports }: StoreSession, subscription: string, messages: readonly WireMessage[]): Promise<WireMessage[]> {
  const standing = await ports.inspect.standing(subscription, messages);
  return messages.filter((_, i) => standing[i] === 'waiting' || standing[i] === 'failed');
}

/** Replayed messages that have not been run. They came after the replay, so their rows have higher numbers. */
async function lineOf({ ports }: StoreSession, subscription: string, after: number): Promise<number> {
  const rows = await ports.inspect.waiting({ subscription, after, limit: 1_000 });
  return rows.filter(({ reason }) => reason === 'replayed').length;
}
