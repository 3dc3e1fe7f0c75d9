/**
 * A small saga on the real rooms (saga, inbox, handle, publish, memory store), with everything around them in the hands
 * of a search: which message comes next, when time goes by, when the process dies. A state is reached by replaying the
 * choices that lead to it; states that look alike are entered once.
 */
import { cloudEvents } from '../../src/formats/cloudevents.ts';
import { defineCommand, defineEvent, defineSaga, type StandardSchema } from '../../src/index.ts';
import { type ContractDefinition, definitionOf } from '../../src/contract/contracts.ts';
import type { Envelope, WireMessage } from '../../src/contract/message.ts';
import type { SagaDefinition } from '../../src/contract/saga.ts';
import { sagaKey } from '../../src/contract/saga.ts';
import type { Host, StoreSession, StoreTransaction, WaitingRow } from '../../src/contract/store.ts';
import { createDecode } from '../../src/handle/decode.ts';
import { addTaker, planOf } from '../../src/handle/plan.ts';
import { createRun } from '../../src/handle/run.ts';
import { attemptsOf, verdict } from '../../src/handle/verdict.ts';
import { createApply } from '../../src/inbox/apply.ts';
import type { Item } from '../../src/inbox/item.ts';
import { createSignals } from '../../src/observe/signals.ts';
import { createPublish } from '../../src/publish/publish.ts';
import { createScopes } from '../../src/publish/scope.ts';
import { seal } from '../../src/saga/define.ts';
import { createSaga } from '../../src/saga/saga.ts';
import { memory } from '../../src/stores/memory/index.ts';

/** What the services around the saga do, and what goes wrong, in one search. */
export interface Scenario {
  /** `early`: it has reserved before the saga begins. */
  readonly stock: 'done' | 'refused' | 'silent' | 'early';
  readonly payment: 'approved' | 'declined' | 'failed' | 'silent';
  /** Message types that are delivered once more under the same id. */
  readonly twice: readonly string[];
  /** The order is submitted a second time, as another message. */
  readonly submittedAgain: boolean;
  /** Deaths of the process, at most: before a commit, or after it and before it is acknowledged. */
  readonly crashes: number;
  /** Compensations that throw, at most; without retries, so that they are parked, and retried by hand. */
  readonly failures: number;
}

/** A store that breaks its promise, for controls. */
export type Sabotage = (session: StoreSession) => StoreSession;

export interface Effect {
  readonly step: string;
  readonly atMs: number;
}

export interface World {
  /** What can happen now. */
  choices(): Promise<readonly string[]>;
  take(choice: string): Promise<void>;
  /** Two states with the same picture go on alike. */
  picture(): Promise<string>;
  /** Committed steps of the saga, in order. */
  readonly effects: readonly Effect[];
  status(): Promise<string | undefined>;
  steps(): Promise<readonly { readonly step: string; readonly undone: boolean }[]>;
  failures(): Promise<number>;
}

export const graceMs = 60_000;
const startMs = 1_000_000;
const name = 'ordering.small';
/** The process is started again under its name: what it had in hand when it died is its own. */
const owner = 'worker';
const as: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'model', validate: (value) => ({ value }) } };
const key = (event: { id: string }): string => event.id;
const Submitted = defineEvent('ordering.submitted', { schema: as, key });
const Reserved = defineEvent('stock.reserved', { schema: as, key });
const Refused = defineEvent('stock.refused', { schema: as, key });
const Reserve = defineCommand('stock.reserve', { schema: as });
const Release = defineCommand('stock.release', { schema: as });
const Pay = defineCommand('payment.pay', { schema: as, reply: as });
const Refund = defineCommand('payment.refund', { schema: as });
export const types = { Submitted: Submitted.type, Reserved: Reserved.type, Refused: Refused.type, reply: 'waybill.reply.small.v1' };

class Died extends Error {}

export async function createWorld(scenario: Scenario, sabotage: Sabotage = (session) => session): Promise<World> {
  let nowMs = startMs;
  let ids = 0;
  const clock = { now: () => nowMs, monotonic: () => nowMs, after: () => () => {}, turn: () => Promise.resolve(), random: () => 0, id: () => `id-${++ids}` };
  const signals = createSignals();
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const host: Host = { service: 'ordering', clock, signals, logger, migrate: 'auto' };
  const store = sabotage(await memory().open(host));
  const { ports } = store;

  // --- the saga -------------------------------------------------------------------------------------------------------

  const effects: Effect[] = [];
  let inTransaction: Effect[] = [];
  let failuresLeft = scenario.failures;
  let failing = false;
  const did = (step: string): void => void inTransaction.push({ step, atMs: nowMs });
  const undo = (step: string): void => {
    if (failing) throw new Error('not now');
    did(`undo ${step}`);
  };
  const saga = defineSaga('small', { state: as, initial: () => ({}), timeouts: { grace: graceMs }, steps: ['stock', 'payment'] })
    .startedBy(Submitted, key, async (event, s) => {
      if (s.state.begun) return; // submitted again, as another message
      s.state.begun = true;
      did('submitted');
      s.done('stock');
      s.timeout('grace');
      await s.send(Reserve, event);
    })
    .on(Reserved, key, async (event, s) => {
      did('reserved');
      s.done('payment');
      await s.send(Pay, event);
    })
    .on(Refused, key, (_, s) => {
      did('refused');
      s.undo();
    })
    .onReply(Pay, ({ approved }, s) => {
      did(`paid ${approved}`);
      if (approved) s.complete();
      else s.undo();
    }, (_, s) => {
      did('payment failed');
      s.undo();
    })
    .onTimeout('grace', (s) => {
      did('grace');
      s.undo();
    })
    .compensate('stock', async (s) => {
      undo('stock');
      await s.send(Release, { id: s.key });
    })
    .compensate('payment', async (s) => {
      undo('payment');
      await s.send(Refund, { id: s.key });
    }); // prettier-ignore

  // --- the rooms ------------------------------------------------------------------------------------------------------

  const definition = (saga as unknown as { [sagaKey]: SagaDefinition })[sagaKey];
  seal(definition);
  const scopes = createScopes();
  const publish = createPublish({ service: 'ordering', clock, signals, format: cloudEvents, middleware: [], propagate: [], hopsMax: 64, noticeUnread: () => {} });
  const retry = { immediate: 0, delayed: 1, delayMs: 1_000, delayMaxMs: 1_000 };
  const running = createSaga(definition, name, {
    service: 'ordering', clock, signals, format: cloudEvents, hopsMax: 64, formerly: [], store: () => store, attempts: () => attemptsOf(plan.retry), wake: () => {},
  }); // prettier-ignore
  const plan = planOf({ name, kind: 'event', setBased: false, service: 'ordering', options: { order: 'by-key', afterFailure: 'hold', retry } });
  plan.parked = running.parked;
  for (const taker of running.takers) addTaker(plan, taker);
  const decode = createDecode(plan, cloudEvents, clock);
  const apply = createApply({
    plan, store, clock,
    stopping: new AbortController().signal,
    attempts: attemptsOf(plan.retry),
    verdict: (error, attempt) => ((error as Error).message === 'not now' ? { kind: 'fail' } : verdict(error, attempt, plan.retry, () => 0)),
    reply: async () => undefined,
    replyFailed: () => undefined,
    append: async (tx: StoreTransaction, message: WireMessage) => ports.outbox.append(tx, [message]),
    trouble: (_, error) => { throw error; },
    took: () => {},
    runs: createRun({
      clock, logger, middleware: [],
      trouble: () => {},
      track: (published) => scopes.track(published),
      within: (ready, tx, work) => scopes.run({ kind: 'handler', tx, cause: ready.envelope }, work),
      async publish(scope, drafts, cause) {
        const prepared = await publish.prepareAll(drafts, cause);
        await ports.outbox.append(scope.tx, prepared.flatMap(({ messages }) => messages));
        return prepared.map(({ id, token }) => ({ id, token }));
      },
    }),
  }); // prettier-ignore

  // --- what is under way ----------------------------------------------------------------------------------------------

  interface Pending {
    readonly label: string;
    readonly wire: WireMessage;
    copies: number;
  }
  const pending: Pending[] = [];
  let crashesLeft = scenario.crashes;
  let heard = 0;

  const arrives = (label: string, wire: WireMessage): void => {
    pending.push({ label, wire, copies: scenario.twice.includes(wire.type) ? 2 : 1 });
  };
  const event = async (contract: ContractDefinition, label: string): Promise<void> => {
    const { messages } = await publish.prepare(contract, { id: 'o1' }, {}, undefined);
    arrives(label, messages[0]!);
  };
  const submitted = definitionOf(Submitted);
  await event(submitted, 'submitted');
  if (scenario.stock === 'early') await event(definitionOf(Reserved), 'early');
  if (scenario.submittedAgain) await event(submitted, 'submitted again');

  /** The other services answer what was committed, at once; when it comes in is the search's choice. */
  const answers = async (): Promise<void> => {
    const sent = await ports.inspect.outbox({ after: heard, limit: 1_000 });
    for (const { type, id, position } of sent) {
      heard = position;
      if (type === Reserve.type && (scenario.stock === 'done' || scenario.stock === 'refused')) await event(definitionOf(scenario.stock === 'done' ? Reserved : Refused), scenario.stock);
      if (type !== Pay.type || scenario.payment === 'silent') continue;
      const command: Envelope = { kind: 'command', id, source: 'ordering', type, time: new Date(nowMs), correlationId: 'c', headers: {}, replyTo: 'saga:ordering/small', replyKey: 'o1' };
      const body = scenario.payment === 'failed' ? { ok: false, code: 'BROKE', message: 'no' } : { ok: true, data: { approved: scenario.payment === 'approved' } };
      const reply = publish.reply(command, JSON.stringify(body));
      arrives('reply', { ...reply, source: 'payment', headers: { ...reply.headers, 'ce-source': 'payment' } });
    }
  };

  /** One message through the inbox, in a transaction as the worker has it. */
  const through = async (item: Item, fault: string): Promise<boolean> => {
    inTransaction = [];
    failing = fault === 'fails';
    if (failing) failuresLeft--;
    if (fault.startsWith('dies')) crashesLeft--;
    try {
      await store.transaction(async (tx) => {
        const blocked = item.row ? new Set<string>() : new Set(await ports.waiting.blocked(tx, name, ['o1']));
        const before = inTransaction.length;
        const outcome = await apply.one(tx, item, blocked);
        if (outcome.kind !== 'applied') inTransaction.length = before;
        if (fault === 'dies before') throw new Died();
      });
    } catch (error) {
      if (error instanceof Died) return false;
      throw error;
    } finally {
      failing = false;
    }
    effects.push(...inTransaction);
    await answers();
    return fault !== 'dies after';
  };

  const labelOf = (row: WaitingRow): string => {
    const own = row.message.type === 'waybill.saga.v1' ? (JSON.parse(Buffer.from(row.message.body).toString()) as { does: string; name?: string; step?: number }) : undefined;
    return own ? `${own.does} ${own.name ?? own.step}` : `again ${row.message.type}`;
  };
  const dueRows = async (): Promise<readonly WaitingRow[]> => (await ports.waiting.due(name, nowMs, 100, owner)).rows;

  const faultsFor = (label: string): string[] => [
    'well',
    ...(crashesLeft > 0 ? ['dies before', 'dies after'] : []),
    ...(failuresLeft > 0 && label.startsWith('undo') ? ['fails'] : []),
  ];

  const row = async () => (await ports.sagas!.list({ key: 'o1' }))[0];

  return {
    effects,
    async choices() {
      const found: string[] = [];
      for (const { label } of pending) for (const fault of faultsFor(label)) found.push(`deliver/${label}/${fault}`);
      for (const one of await dueRows()) for (const fault of faultsFor(labelOf(one))) found.push(`run/${one.row}:${labelOf(one)}/${fault}`);
      const { nextDueMs } = await ports.waiting.due(name, nowMs, 100, owner);
      if (nextDueMs !== undefined) found.push('time//');
      // Before the saga has begun that would only fail again.
      if ((await ports.inspect.failures({})).length > 0 && (await row())) found.push('retry//');
      return [...new Set(found)];
    },

    async take(choice) {
      const [what, label, fault] = choice.split('/') as [string, string, string];
      if (what === 'time') {
        nowMs = (await ports.waiting.due(name, nowMs, 100, owner)).nextDueMs!;
        return;
      }
      if (what === 'retry') {
        await store.transaction(async (tx) => {
          const [failed] = await ports.failures.take(tx, [(await ports.inspect.failures({}))[0]!.row]);
          const { message, firstFailedMs, error, holds, subscription } = failed!;
          await ports.waiting.add(tx, [{ subscription, message, dueMs: nowMs, attempt: 0, attempts: 2, firstFailedMs, error, reason: 'asked', inOrder: holds }]);
        });
        return;
      }
      if (what === 'deliver') {
        const one = pending.find((other) => other.label === label)!;
        const delivery = { ...one.wire, redelivered: one.copies > 1, suspect: false };
        const done = await through({ incoming: await decode(delivery), delivery, deliveryCount: undefined, row: undefined, attempt: 0, crashes: 0, started: true, together: 1, threw: undefined, line: undefined, newer: undefined }, fault);
        if (done && --one.copies === 0) pending.splice(pending.indexOf(one), 1);
        return;
      }
      const found = (await dueRows()).find((one) => `${one.row}:${labelOf(one)}` === label)!;
      await ports.waiting.start([found], { owner, claimMs: 60_000 });
      await through({ incoming: await decode(found.message, true), delivery: undefined, deliveryCount: undefined, row: { ...found, owner }, attempt: found.attempt, crashes: 0, started: true, together: 1, threw: undefined, line: undefined, newer: undefined }, fault);
    },

    async picture() {
      const { status, state, ledger } = (await row()) ?? {};
      const { steps, timeouts, asked, parked } = ledger === undefined ? ({} as any) : JSON.parse(ledger);
      const waits = (await ports.inspect.waiting({ limit: 1_000 })).map((one) => [labelOf(one), Math.max(0, one.dueMs - nowMs), one.attempt, one.inOrder, one.reason]);
      const failed = (await ports.inspect.failures({})).map(({ message, holds }) => [message.type, holds]);
      const inbox: boolean[] = [];
      for (const { wire } of pending) inbox.push(await ports.inbox.has(name, wire));
      return JSON.stringify([
        status, state, steps, timeouts && Object.keys(timeouts), Object.values(asked ?? {}), parked?.in, waits, failed,
        pending.map(({ label, copies }, i) => [label, copies, inbox[i]]), crashesLeft, failuresLeft,
        effects.map(({ step }) => step),
      ]); // prettier-ignore
    },

    status: async () => (await row())?.status,
    steps: async () => {
      const found = await row();
      return found ? (JSON.parse(found.ledger) as { steps: { step: string; undone: boolean }[] }).steps : [];
    },
    failures: async () => (await ports.inspect.failures({})).length,
  };
}

export { startMs };
