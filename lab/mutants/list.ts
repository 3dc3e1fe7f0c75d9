/**
 * Planted bugs: each is a change of one place in the library's source, made while it is loaded. The simulation must
 * notice every one of them by an invariant. Text that is not found exactly once is an error: a mutant never rots silently.
 */
export interface Mutant {
  readonly name: string;
  /** In packages/waybill/src. */
  readonly file: string;
  readonly find: string;
  readonly put: string;
  /** A second place, where the bug needs two. */
  readonly also?: { readonly file: string; readonly find: string; readonly put: string };
}

const apply = 'inbox/apply.ts';
const alone = 'inbox/alone.ts';
const worker = 'inbox/worker.ts';
const taking = 'inbox/taking.ts';
const inHand = 'inbox/in-hand.ts';
const shared = 'inbox/shared.ts';
const outbox = 'outbox/outbox.ts';
const mover = 'waiting/mover.ts';
const relay = 'relay/relay.ts';
const ledger = 'stores/memory/outbox.ts';
const waiting = 'stores/memory/waiting.ts';
const inbox = 'stores/memory/inbox.ts';
const saga = 'saga/saga.ts';
const projection = 'streams/projection-worker.ts';
const streams = 'stores/memory/streams.ts';

export const mutants: readonly Mutant[] = [
  // --- publish and transaction
  { name: 'dual write: the ledger row in a transaction of its own', file: outbox, find: 'return andThen(outbox.append(tx, messages, fresh), () => {', put: 'return andThen(store.transaction(async (own) => outbox.append(own, messages, fresh)), () => {' },
  { name: 'only the first message of a call reaches the ledger', file: outbox, find: 'return andThen(outbox.append(tx, messages, fresh), () => {', put: 'return andThen(outbox.append(tx, messages.slice(0, 1)), () => {' },
  { name: 'the ledger row is written twice', file: outbox, find: 'return andThen(outbox.append(tx, messages, fresh), () => {', put: 'return andThen(outbox.append(tx, [...messages, ...messages]), () => {' },
  { name: 'a delayed message is sent at once', file: outbox, find: 'return dueMs > nowMs ?', put: 'return dueMs > nowMs + 1e12 ?' },
  { name: 'a delay by the clock of the process', file: outbox, find: 'const nowMs = await waiting.nowMs(tx);', put: 'const nowMs = clock.now();' },
  { name: 'run again after a lost COMMIT', file: 'contract/transact.ts', find: "store.classify(error) !== 'retry') throw error;", put: "(store.classify(error) !== 'retry' && (error as { code?: string }).code !== 'COMMIT_UNKNOWN')) throw error;" },
  { name: 'the downcast copy under an id of its own', file: 'publish/publish.ts', find: 'messages.push(encode(older, { ...envelope, type: older.type,', put: 'messages.push(encode(older, { ...envelope, id: clock.id(), type: older.type,' },
  { name: 'once keeps no result', file: 'once/once.ts', find: 'await store.ports.once.save(tx, {', put: 'if (Number.isNaN(retainMs)) await store.ports.once.save(tx, {' },
  { name: 'a reply goes to whoever waits longest', file: 'publish/requests.ts', find: "open.get(envelope.causationId ?? '')", put: '[...open.values()][0]' },
  // --- waiting at the sender
  { name: 'a delayed message sent by two relays', file: mover, find: 'if (await waiting.settle(tx, row))', put: 'if ((await waiting.settle(tx, row)) || !row.inOrder)' },
  { name: 'a delayed message leaves early', file: mover, find: "waiting.due(undefined, 'now',", put: 'waiting.due(undefined, clock.now() + 2_000,' },
  { name: 'a delayed message is taken out and not sent', file: mover, find: 'await options.append(tx, [', put: 'if (row.attempt > 0) await options.append(tx, [' },
  { name: 'a message that was taken back leaves all the same', file: waiting, find: 'for (const { row } of cancelled) waiting.delete(row);', put: '' },
  // --- relay
  { name: 'published before the broker confirmed', file: relay, find: 'const window: Window = {', put: 'await held.settle(rows.at(-1)!.position, []);\n      const window: Window = {' },
  { name: 'a failed send counts as published', file: relay, find: 'sent: options.send(rows) };', put: "sent: options.send(rows).catch(() => rows.map((): SendOutcome => ({ kind: 'stored' }))) };" },
  { name: 'what the broker refused is forgotten', file: relay, find: 'await held.settle(ready.at(-1)!.rows.at(-1)!.position, parked);', put: 'await held.settle(ready.at(-1)!.rows.at(-1)!.position, []);' },
  { name: 'the window is dropped after a failed send', file: ledger, find: 'readUntil: now.position });', put: 'readUntil: disk.lastNumber });' },
  { name: 'a cursor that passes over a row', file: ledger, find: 'readUntil = rows.at(-1)?.position ?? readUntil;', put: 'readUntil = rows.length > 0 ? rows.at(-1)!.position + 1 : readUntil;' },
  { name: 'a position that runs ahead of what was sent', file: ledger, find: 'position: Math.max(position, now.position) });', put: 'position: Math.max(position + 4, now.position) });' },
  { name: 'a ledger read in the wrong order', file: ledger, find: 'return rows;', put: 'return rows.reverse();' },
  // --- inbox
  { name: 'no inbox', file: apply, find: 'item.row !== undefined || (await inbox.insert', put: 'item.row !== undefined || item.attempt === 0 || (await inbox.insert' },
  { name: 'the inbox row counts, whatever became of it: check, then act', file: inbox, find: 'if (inbox.get(key) !== undefined) return false;', put: 'if (inbox.get(key) !== undefined && inbox.get(key)!.atMs < host.clock.now() - 1_000) return false;' },
  { name: 'the inbox of own transactions is looked at and not written', file: alone, find: 'else if (!(await takesOn(tx, item))) throw', put: 'else if (await inbox.has(plan.name, ready.wire)) throw' },
  { name: 'acknowledged before the transaction', file: shared, find: 'await store.transaction(async (tx) => {\n        spoilt = undefined;', put: 'await consumer.settle(deliveriesOf(items));\n      await store.transaction(async (tx) => {\n        spoilt = undefined;' },
  { name: 'finished and never acknowledged', file: inHand, find: 'if (deliveries.length > 0) await consumer.settle(deliveries);', put: 'if (deliveries.length > 1e9) await consumer.settle(deliveries);' },
  { name: 'watermark without the event name', file: apply, find: 'event: ready.taker.contract.name,', put: "event: '',", },
  { name: 'watermark that is not looked at', file: apply, find: "plan.order !== 'latest' ||\n", put: "plan.order !== 'latest' || ready.sequence !== undefined ||\n" },
  { name: 'watermark raised by what is overtaken', file: inbox, find: 'if (reached !== undefined && reached.sequence >= mark.sequence) return false;\n', put: '' },
  { name: '`formerly` without its inbox', file: 'inbox/subscription.ts', find: 'if (plan.formerly.length === 0) return;', put: 'if (plan.formerly.length >= 0) return;', also: { file: 'inbox/names.ts', find: 'if (formerly.length === 0) return inbox;', put: 'if (formerly.length >= 0) return inbox;' } },
  { name: 'an instance of the old name applies what the new one has applied', file: 'inbox/names.ts', find: 'if (formerly.length === 0) return inbox;', put: 'if (formerly.length >= 0) return inbox;' },
  { name: 'a late start that fails is not tried again', file: 'wiring/subscriptions.ts', find: "if (when === 'at start' && !WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;", put: "if (!WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;" },
  { name: 'an inbox that forgets before the last delivery', file: 'wiring/rooms.ts', find: 'store.ports.inbox.trim(nowMs - 2 * options.horizonMs, max)', put: 'store.ports.inbox.trim(nowMs - options.horizonMs, max)' },
  { name: 'an inbox that forgets what is in failures', file: inbox, find: ' || needed.has(key)) continue;', put: ') continue;' },
  { name: 'an inbox that never forgets', file: 'wiring/rooms.ts', find: 'store.ports.inbox.trim(nowMs - 2 * options.horizonMs, max)', put: 'store.ports.inbox.trim(nowMs - 200 * options.horizonMs, max)' },
  // --- order
  { name: 'keys are spread over lanes at will', file: 'inbox/lanes.ts', find: 'const found = key === undefined ?', put: "const found = key !== '' ?" },
  { name: 'a message passes the one that waits before it', file: apply, find: 'if (inOrder && key !== undefined && blocked.has(key))', put: "if (inOrder && key === '' && blocked.has(key))" },
  { name: 'of a key that waits, anyone may run', file: waiting, find: 'if (passed.has(key)) return false;\n', put: '' },
  { name: 'what was taken with the first of its line runs whatever became of that', file: waiting, find: 'if (!isHeld && (first === undefined || inLine(one, first) < 0))', put: 'if (!isHeld || first === undefined)', also: { file: worker, find: 'started || !line?.broken', put: 'true' } },
  { name: 'what was not taken off its line runs all the same, in a transaction of its own', file: alone, find: "if (taken === undefined) throw new Undo({ kind: 'gone' });", put: 'taken ??= [];', also: { file: worker, find: 'started || !line?.broken', put: 'true' } },
  { name: 'what could not be taken off its line is gone', file: alone, find: "outcome.kind === 'gone' ? {} : undefined", put: 'undefined', also: { file: worker, find: 'started || !line?.broken', put: 'true' } },
  { name: 'what is put into line with others is acknowledged and not written', file: shared, find: 'return whole(tx, unrun, () => false, blocked);', put: "return whole(tx, unrun.slice(0, 1), () => false, blocked).then(([outcome]) => unrun.map(() => outcome!));" },
  { name: 'what was not taken off its line runs all the same', file: 'inbox/whole.ts', find: 'isTaken ? undefined : hasWaited ? gone :', put: 'hasWaited ? undefined :', also: { file: worker, find: 'started || !line?.broken', put: 'true' } },
  { name: 'what had been received when all was let go of is done all the same', file: taking, find: 'mayNotRun() || host.forgets() !== forgets', put: 'mayNotRun()', also: { file: worker, find: '          await forgetting;\n', put: '' } },
  // --- retries and failures
  { name: 'a retry by the clock of the process', file: apply, find: 'const nowMs = await waiting.nowMs(tx);\n    const dueMs', put: 'const nowMs = clock.now();\n    const dueMs' },
  { name: 'a retry without its pause', file: apply, find: "(verdict.kind === 'later' ? verdict.delayMs : 0)", put: '0' },
  { name: 'what is finished while stopping is not acknowledged', file: worker, find: 'if (outcomes.length > 0) await inHand.done(', put: 'if (outcomes.length > 0 && !stopping.signal.aborted) await inHand.done(' },
  { name: 'the pause before a retry is waited for in the transaction', file: apply, find: "await move(tx, item, 'retry', dueMs, blocked, {", put: "await new Promise<void>((resolve) => void clock.after(dueMs - nowMs, resolve));\n    await move(tx, item, 'retry', dueMs, blocked, {" },
  { name: 'a failed run is forgotten', file: apply, find: "await move(tx, item, 'retry', dueMs, blocked, {", put: "if (item.row || attempt !== 2) await move(tx, item, 'retry', dueMs, blocked, {" },
  { name: 'one run too many', file: 'handle/verdict.ts', find: 'if (attempt >= attemptsOf(retry))', put: 'if (attempt > attemptsOf(retry))' },
  { name: 'a rejected message is tried again', file: 'handle/verdict.ts', find: "if (Reject.is(error)) return { kind: 'fail' };\n", put: '' },
  { name: 'attempts are not kept', file: apply, find: "      attempt,\n      error: storedError(error, 'HANDLER_FAILED'),\n      firstFailedMs: item", put: "      error: storedError(error, 'HANDLER_FAILED'),\n      firstFailedMs: item" },
  { name: 'a dead letter without its bytes', file: apply, find: 'message: { ...incoming.wire, key },\n        error', put: 'message: { ...incoming.wire, key, body: new Uint8Array(0) },\n        error' },
  { name: 'a dead letter that still waits', file: apply, find: 'if (row) await waiting.settle(tx, row);\n    if (holds)', put: 'if (holds)' },
  { name: 'an effect whose message still waits', file: apply, find: 'if (reply) await host.append(tx, reply);\n    if (item.row && !isTaken) await waiting.settle(tx, item.row);', put: 'if (reply) await host.append(tx, reply);', also: { file: waiting, find: 'if (taken.has(one)) waiting.delete(one.row);', put: 'if (taken.has(one)) waiting.set(one.row, one);' } },
  { name: 'dead letters that nobody writes', file: apply, find: 'await failures.add(tx, [\n      {\n        subscription: plan.name,', put: 'await (async (..._: unknown[]) => {})(tx, [\n      {\n        subscription: plan.name,' },
  { name: 'poison is tried for ever', file: taking, find: 'const crashesMax = 4;', put: 'const crashesMax = 1e9;' },
  { name: 'a suspect that threw leaves its room before that is on record', file: worker, find: 'gate.alone(() => insist(taken, undefined, (run) => run()))', put: 'gate.alone(() => insist(taken, putBack, (run) => run()))' },
  { name: 'innocents are charged: what crashed does not run alone', file: worker, find: 'taken[0]!.crashes > 0 ? gate.alone(() => insist(taken, undefined, (run) => run())) : insist(taken, putBack, gate.pass);', put: 'insist(taken, putBack, gate.pass);', also: { file: taking, find: 'const together = crashes > 0 ||', put: 'const together =' } },
  { name: 'a start that another made counts as a crash', file: waiting, find: '!isFree(now, owner, nowMs) || now.attempt !== attempt || now.starts !== starts) return undefined;', put: 'now.attempt !== attempt) return undefined;', also: { file: waiting, find: '.filter((row) => isFree(row, owner, host.clock.now()));', put: ';' } },
  // --- sagas
  { name: 'undo is skipped when its process crashes', file: saga, find: "await addOwn(tx, { key, does: 'undo', step: at }, { dueMs: 'now', afterMs: 0 }, ctx.message);", put: "tx.afterCommit(() => void transact(store(), clock, (own) => addOwn(own, { key, does: 'undo', step: at }, { dueMs: 'now', afterMs: 0 }, ctx.message)).catch(() => {}));" },
  { name: 'undone in the order in which it was done', file: saga, find: "const at = ledger.steps.findLastIndex((entry) => !entry.undone);\n    await", put: "const at = ledger.steps.findIndex((entry) => !entry.undone);\n    await", also: { file: saga, find: "const last = ledger.steps.findLastIndex((entry) => !entry.undone);\n    if (status", put: "const last = ledger.steps.findIndex((entry) => !entry.undone);\n    if (status" } },
  { name: 'only the last step is undone', file: saga, find: 'ledger.steps.every(({ undone }) => undone)) instance', put: 'ledger.steps.some(({ undone }) => undone)) instance' },
  { name: 'a saga that takes back goes on all the same', file: saga, find: "if (instance.status !== 'running') return late(found, ctx);\n    const taken = instance.definition.events", put: 'const taken = instance.definition.events' },
  { name: 'a timeout fires early', file: saga, find: 'const dueMs = Math.ceil(nowMs + afterMs);', put: 'const dueMs = Math.ceil(nowMs + afterMs / 2);' },
  { name: 'a timeout that was set again fires when it was first to', file: saga, find: 'if (ledger.timeouts[timeout]) await take(timeout);', put: '', also: { file: saga, find: '?.generation === own.generation;', put: ' !== undefined;' } },
  { name: 'a step of a saga that is not saved', file: saga, find: 'await save(found, instance);\n    if (was', put: 'if (instance.status !== \'running\' || was === undefined) await save(found, instance);\n    if (was' },
  { name: 'what failed for good does not hold its key', file: apply, find: "plan.afterFailure === 'hold' && key", put: "plan.afterFailure !== 'pass' && key === '' && key" },
  // --- streams
  { name: 'a projection moves without its effect', file: projection, find: 'await held.settleIn(tx); // nothing', put: 'await store.transaction((own) => held.settleIn(own, next)); // nothing' },
  { name: 'a projection has its effect and moves later', file: projection, find: '      await held.settleIn(tx, next);\n    });', put: '    });\n    await store.transaction((own) => held.settleIn(own, next));' },
  { name: 'a projection passes over an event', file: streams, find: 'let position = positionOf(cursor) + 1, bytes', put: 'let position = positionOf(cursor) + 3, bytes' },
  { name: 'a projection whose lease another has goes on', file: streams, find: 'return now?.epoch === epoch && now.owner !== undefined ?', put: 'return now ? { ...now, epoch } : now ?' },
  { name: 'a decision on another version is appended', file: streams, find: 'if (expected !== undefined && expected !== version)', put: 'if (expected !== undefined && expected > version)' },
  { name: 'a lock of a key that locks nothing', file: 'bus.ts', find: 'await store.ports.outbox.lockKey(tx, key);', put: '' },
];
