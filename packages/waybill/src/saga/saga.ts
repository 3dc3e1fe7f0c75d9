/**
 * Long conversations: a message and the instance it is for → the next state, and what follows from it (G11).
 *
 * In: events, replies to the saga's own commands, and its own timeouts, as handlers of one by-key subscription whose key
 * is the saga's. Out: in the transaction of the message the instance's row, one revision on; what it published and sent;
 * the rows of its timeouts. Guaranteed: a step happens whole or not at all, once per message; of two workers on one
 * instance the slower runs its step again on what the faster left; a saga ends completed, compensated or visibly parked,
 * and what has ended begins nothing, also when its first message comes again: its row stays as tombstone. A crash before
 * the commit leaves the message to be run again; after it, everything: the compensation is a ledger of steps, of which
 * each is undone in a transaction of its own, from wherever it stood.
 *
 *     event, reply, timeout ──► running ──complete()──► completed
 *                               │  ▲ └────undo()──► undoing ──last step undone──► compensated
 *               failed for good ▼  │ retried                │ ▲ a step that fails is parked, and goes on when retried
 *                             parked ◄──────────────────────┘ ┘
 *
 * Cost per step: one search and one write by key, one validation of the state before and one after, in the transaction
 * that the message has anyway; per timeout one insert.
 */
import type { HandlerContext } from '../contract/api.ts';
import type { Clock } from '../contract/clock.ts';
import { Reject, WaybillError } from '../contract/errors.ts';
import { storedError } from '../contract/failure.ts';
import type { Format } from '../contract/format.ts';
import type { Plan, Taker } from '../contract/handling.ts';
import { nextHop } from '../contract/hops.ts';
import type { Envelope, Message } from '../contract/message.ts';
import { describeIssues, validate } from '../contract/schema.ts';
import type { SagaDefinition, SagaEvent } from '../contract/saga.ts';
import type { SignalMap, Signals } from '../contract/signals.ts';
import type { Due, SagaRow, SagasPort, StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import { type StepContext, createContext } from './context.ts';
import { type Instance, begin, open, rowOf } from './instance.ts';
import { type Own, type ReplyBody, ownContract, ownEntry, readReply, replyAddress, replyContract, timeoutId } from './own-messages.ts';

export interface SagaHost {
  readonly service: string;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly format: Format;
  readonly hopsMax: number;
  /** Names that the saga had before: replies to what it asked under them still come. */
  readonly formerly: readonly string[];
  /** Opened before any message comes. */
  readonly store: () => StoreSession;
  /** Of the subscription: runs that a message has, at most. */
  readonly attempts: (subscription: string) => number;
  /** Rows were committed that may be due before the subscription looks again. */
  readonly wake: (subscription: string) => void;
}

export interface RunningSaga {
  readonly takers: readonly Taker[];
  /** What kept it from going on has been dealt with. False when there is nothing that could go on. */
  readonly resume: (key: string) => Promise<boolean>;
  /** In the transaction that parks a message. */
  readonly parked: NonNullable<Plan['parked']>;
}

type Ctx = HandlerContext;
/** What a message of its own comes from. */
type Cause = Pick<Message, 'id' | 'correlationId' | 'headers'>;
/** What runs in an open instance; undefined: nothing, and why it is counted has been said. */
type Run = (instance: Instance, step: StepContext) => unknown;
type Ignored = SignalMap['saga-ignored']['reason'];

/** A definition as handlers of the subscription `name`, which is also the name of its rows. */
export function createSaga(definition: SagaDefinition, name: string, host: SagaHost): RunningSaga {
  const { service, clock, signals, format, store } = host;
  const { events, replies } = handled(definition);
  const replyTo = replyAddress(service, definition.name);

  // --- messages -------------------------------------------------------------------------------------------------------

  const onEvent = async (key: string, event: unknown, ctx: Ctx): Promise<void> => {
    const { contract, starts } = eventOf(ctx.message.type);
    const found = await load(key, ctx);
    if (!found.row && !starts) {
      throw new WaybillError('SAGA_NOT_FOUND', `${name}: there is no instance ${JSON.stringify(key)} for ${contract.type}, and it starts none; it is tried again in case it came too early`);
    }
    if (found.row && hasEnded(found.row)) return late(found, ctx);
    const instance = found.row ? await open(definition, found.row) : await begin(definition, key);
    if (instance.status !== 'running') return late(found, ctx);
    const taken = instance.definition.events.get(contract.type);
    if (!taken) return ignore(found, 'version', ctx); // its own definition never answered this
    await step(found, instance, ctx, (_, { saga }) => taken.step(event, saga));
  };

  /** By the type on the wire, which may be an older version's. */
  const eventOf = (type: string): SagaEvent => {
    const exact = events.get(type);
    if (exact) return exact;
    for (const event of events.values()) {
      for (let older = event.contract.previous; older; older = older.previous) if (older.type === type) return event;
    }
    throw new WaybillError('INVALID_SAGA', `saga ${definition.name} has no step for ${type}`);
  };

  const onReply = async (key: string, body: ReplyBody, ctx: Ctx): Promise<void> => {
    const found = await load(key, ctx);
    if (!found.row) return ignore(found, 'reply', ctx);
    if (hasEnded(found.row)) return late(found, ctx);
    const instance = await open(definition, found.row);
    if (instance.status !== 'running') return late(found, ctx);
    const command = ctx.message.causationId ?? '';
    const asked = instance.ledger.asked[command];
    const taken = asked === undefined ? undefined : instance.definition.replies.get(asked);
    if (!taken) return ignore(found, 'reply', ctx); // had been answered, or was never asked
    if (ctx.message.source !== taken.contract.to) return ignore(found, 'foreign-reply', ctx);
    delete instance.ledger.asked[command];
    const { contract, failed } = taken;
    if (!body.ok) {
      const { code, message } = body;
      if (!failed) throw new Reject(`${contract.to} gave up on ${contract.type}: ${message}`, { code });
      return step(found, instance, ctx, (_, { saga }) => failed({ code, message }, saga));
    }
    const reply = contract.reply ? await replyOf(body.data, contract.reply, contract.type) : undefined;
    await step(found, instance, ctx, (_, { saga }) => taken.step(reply, saga));
  };

  const replyOf = async (data: unknown, schema: NonNullable<SagaDefinition['schema']>, type: string): Promise<unknown> => {
    const result = await validate(schema, data, `the reply to ${type}`, clock);
    if (!result.issues) return result.value as unknown;
    throw new WaybillError('CONTRACT_VIOLATION', `the reply to ${type} does not fit its contract: ${describeIssues(result.issues)}`);
  };

  const onOwn = async (own: Own, ctx: Ctx): Promise<void> => {
    const found = await load(own.key, ctx);
    if (!found.row || hasEnded(found.row)) return ignore(found, own.does, ctx);
    const instance = await open(definition, found.row);
    if (own.does === 'undo') return undoStep(found, instance, own.step, ctx);
    const { ledger, status } = instance;
    const current = ledger.timeouts[own.name]?.generation === own.generation;
    const run = instance.definition.onTimeout.get(own.name);
    if (!current || status !== 'running' || !run) return ignore(found, 'timeout', ctx);
    delete ledger.timeouts[own.name];
    await step(found, instance, ctx, (_, { saga }) => run(saga));
  };

  /** The last step that is done and not undone, and no other. */
  const undoStep = async (found: Found, instance: Instance, at: number, ctx: Ctx): Promise<void> => {
    const { ledger, status } = instance;
    const last = ledger.steps.findLastIndex((entry) => !entry.undone);
    if (status !== 'undoing' || last !== at) return ignore(found, 'undo', ctx);
    const undo = instance.definition.undo.get(ledger.steps[at]!.step);
    if (!undo) throw new WaybillError('SAGA_UNSERVED', `${name} ${found.key}: the step ${ledger.steps[at]!.step} is done, and version ${instance.definition.version} has no compensate for it; deploy one that has`);
    await step(found, instance, ctx, async (_, { saga }) => {
      await undo(saga);
      ledger.steps[at]!.undone = true;
    });
  };

  // --- a step ---------------------------------------------------------------------------------------------------------

  interface Found {
    readonly key: string;
    readonly tx: StoreTransaction;
    readonly port: SagasPort;
    readonly row: SagaRow | undefined;
  }

  const load = async (key: string, ctx: Ctx): Promise<Found> => {
    const session = store();
    const tx = session.join(ctx.tx);
    const port = session.ports.sagas!;
    return { key, tx, port, row: await port.load(tx, name, key) };
  };

  const step = async (found: Found, instance: Instance, ctx: Ctx, run: Run): Promise<void> => {
    const context = createContext(instance, { key: found.key, name, ctx, replyTo });
    try {
      await run(instance, context);
      await context.sent(); // a reply is known by what it answers, awaited or not
    } finally {
      context.close();
    }
    const was = found.row?.status;
    endOf(instance, context);
    await setTimeouts(found, instance, context, ctx);
    await undoNext(found, instance, ctx);
    const { ledger } = instance;
    if (ledger.parked && goesOn(instance, ctx)) delete ledger.parked;
    await save(found, instance);
    if (was === undefined) await found.port.awaken(found.tx, name, found.key, 'now');
    told(found, instance, was);
  };

  const endOf = (instance: Instance, { end }: StepContext): void => {
    const { ledger } = instance;
    if (end === 'complete') instance.status = 'completed';
    if (end === 'undo') instance.status = 'undoing';
    if (instance.status === 'undoing' && ledger.steps.every(({ undone }) => undone)) instance.status = 'compensated';
  };

  const setTimeouts = async ({ tx, key }: Found, instance: Instance, { timeouts }: StepContext, ctx: Ctx): Promise<void> => {
    const { waiting } = store().ports;
    const { ledger, row } = instance;
    const take = async (timeout: string): Promise<void> => {
      delete ledger.timeouts[timeout];
      await waiting.cancel(tx, timeoutId(key, timeout), name);
    };
    if (instance.status !== 'running') {
      for (const timeout of Object.keys(ledger.timeouts)) await take(timeout);
      for (const id of Object.keys(ledger.asked)) delete ledger.asked[id];
      return;
    }
    const generation = (row?.revision ?? 0) + 1;
    const nowMs = timeouts.size > 0 ? await waiting.nowMs(tx) : 0;
    for (const [timeout, afterMs] of timeouts) {
      if (ledger.timeouts[timeout]) await take(timeout);
      if (afterMs === undefined) continue;
      const dueMs = Math.ceil(nowMs + afterMs);
      ledger.timeouts[timeout] = { generation, dueMs };
      await addOwn(tx, { key, does: 'timeout', name: timeout, generation }, { dueMs, afterMs }, ctx.message);
    }
  };

  const undoNext = async ({ tx, key }: Found, { status, ledger }: Instance, ctx: Ctx): Promise<void> => {
    if (status !== 'undoing') return;
    const at = ledger.steps.findLastIndex((entry) => !entry.undone);
    await addOwn(tx, { key, does: 'undo', step: at }, { dueMs: 'now', afterMs: 0 }, ctx.message);
  };

  const addOwn = async (tx: StoreTransaction, own: Own, { dueMs, afterMs }: { dueMs: Due; afterMs: number }, cause: Cause): Promise<void> => {
    const nowMs = clock.now();
    // A step to undo belongs to the message that began it: it must not be refused.
    const hops = own.does === 'undo' ? (cause as Partial<Envelope>).hops : nextHop(`a timeout of ${name}`, cause, afterMs, host.hopsMax);
    const entry = ownEntry(own, { subscription: name, service, format, cause, hops, nowMs, dueMs, attempts: host.attempts(name) });
    await store().ports.waiting.add(tx, [entry]);
    tx.afterCommit(() => host.wake(name));
  };

  const save = async ({ tx, port, key }: Found, instance: Instance): Promise<void> => {
    if (await port.save(tx, await rowOf(instance, { saga: name, key, nowMs: clock.now() }))) return;
    throw faster(key);
  };

  /** The store's word for "it did not happen, run it again": the whole step, on what the other left. No attempt. */
  const faster = (key: string): WaybillError => new WaybillError('STORE_BUSY', `${name} ${key}: another worker was faster; this runs again on what it left`);

  // --- what does not run ----------------------------------------------------------------------------------------------

  const late = (found: Found, ctx: Ctx): void => {
    if (definition.late === 'drop') return ignore(found, 'late', ctx);
    throw new WaybillError('SAGA_ENDED', `${name} ${found.key}: ${ctx.message.type} came late, the instance is ${found.row!.status}; look whether something outside has to be taken back`);
  };

  const ignore = ({ tx, key }: Found, reason: Ignored, { message: { id, type, source } }: Ctx): void => {
    tx.afterCommit(() => signals.emit('saga-ignored', { saga: name, key, id, type, source, reason }));
  };

  const told = ({ tx, key }: Found, { status, ledger }: Instance, was: SagaRow['status'] | undefined): void => {
    const now = ledger.parked ? 'parked' : status;
    if (now !== was) tx.afterCommit(() => signals.emit('saga', { saga: name, key, status: now, was }));
  };

  // --- parking --------------------------------------------------------------------------------------------------------

  /** The instance cannot go on without what is in failures now: that shows in its row. */
  const parked: RunningSaga['parked'] = async (tx, { key, id, error }) => {
    if (WaybillError.is(error, 'SAGA_ENDED') || WaybillError.is(error, 'SAGA_NOT_FOUND') || WaybillError.is(error, 'SAGA_UNSERVED')) return;
    const port = store().ports.sagas!;
    const row = await port.load(tx, name, key);
    if (!row || hasEnded(row)) return;
    const ledger = JSON.parse(row.ledger) as Instance['ledger'];
    const { code, message } = storedError(error, 'HANDLER_FAILED');
    const going = ledger.parked?.in ?? (row.status as 'running' | 'undoing');
    ledger.parked = { in: going, id, code, message: message.slice(0, 500) };
    const next: SagaRow = { ...row, revision: row.revision + 1, status: 'parked', ledger: JSON.stringify(ledger), changedMs: clock.now() };
    if (!(await port.save(tx, next))) throw faster(key);
    if (row.status !== 'parked') tx.afterCommit(() => signals.emit('saga', { saga: name, key, status: 'parked', was: row.status }));
  };

  const resume = (key: string): Promise<boolean> =>
    transact(store(), clock, async (tx) => {
      const port = store().ports.sagas!;
      const row = await port.load(tx, name, key);
      if (!row || hasEnded(row) || row.status === 'running') return false;
      const { parked, ...ledger } = JSON.parse(row.ledger) as Instance['ledger'];
      const status = parked?.in ?? (row.status as 'undoing');
      if (!(await port.save(tx, { ...row, revision: row.revision + 1, status, ledger: JSON.stringify(ledger), changedMs: clock.now() }))) throw faster(key);
      if (status === 'undoing') {
        // Where one waits or is in failures already, whichever comes first does it, and the other nothing.
        const step = ledger.steps.findLastIndex((entry) => !entry.undone);
        await addOwn(tx, { key, does: 'undo', step }, { dueMs: 'now', afterMs: 0 }, { id: clock.id(), correlationId: key, headers: {} });
      }
      if (parked) tx.afterCommit(() => signals.emit('saga', { saga: name, key, status, was: 'parked' }));
      return true;
    });

  /** What was parked has been run; or its key, which it held, was let go. A timeout says nothing about that. */
  const goesOn = ({ status, ledger }: Instance, { message: { id, type } }: Ctx): boolean => {
    if (status === 'completed' || status === 'compensated' || id === ledger.parked!.id) return true;
    ledger.parked = { ...ledger.parked!, in: status };
    return type !== ownContract.type;
  };

  // --- takers ---------------------------------------------------------------------------------------------------------

  const replyContracts = [definition.name, ...host.formerly].map((known) => replyContract(known, service));
  const replyTypes = new Set(replyContracts.map(({ type }) => type));
  const keyOf = (data: any, message: Message): string => {
    if (message.type === ownContract.type) return (data as Own).key;
    if (replyTypes.has(message.type)) return message.key ?? '';
    return eventOf(message.type).key(data);
  };
  const takers: Taker[] = [...events.values()].map(({ contract }) => ({
    contract,
    key: keyOf,
    handler: (data, ctx) => onEvent(keyOf(data, ctx.message), data, ctx),
  }));
  takers.push({ contract: ownContract, own: true, key: keyOf, handler: (own, ctx) => onOwn(own, ctx) });
  if (replies.size > 0) {
    for (const contract of replyContracts) takers.push({ contract, key: keyOf, handler: (body, ctx) => onReply(keyOf(body, ctx.message), readReply(body), ctx) });
  }
  return { takers, parked, resume };
}

/** All that a definition and the older ones it stands for answer; each as its newest has it. */
function handled(newest: SagaDefinition): Pick<SagaDefinition, 'events' | 'replies'> {
  const chain: SagaDefinition[] = [];
  for (let definition: SagaDefinition | undefined = newest; definition; definition = definition.previous) chain.unshift(definition);
  return {
    events: new Map(chain.flatMap(({ events }) => [...events].map(([type, event]) => [type, event] as const))),
    replies: new Map(chain.flatMap(({ replies }) => [...replies])),
  };
}

function hasEnded({ status }: SagaRow): boolean {
  return status === 'completed' || status === 'compensated';
}
