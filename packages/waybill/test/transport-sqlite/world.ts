/** What the tests of the SQLite transport share: buses without rooms, on real files in a folder of their own. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock, type Clock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { WireMessage } from '../../src/contract/message.ts';
import type { SignalMap, SignalName } from '../../src/contract/signals.ts';
import type { Host } from '../../src/contract/store.ts';
import type { Consumer, Declaration, Delivery, TransportSession } from '../../src/contract/transport.ts';
import { sqlite as store } from '../../src/stores/sqlite/index.ts';
import type { SqliteStoreSession, SqliteTransaction } from '../../src/stores/sqlite/port.ts';
import { sqlite } from '../../src/transports/sqlite/index.ts';

export const price = 'catalog.price-changed.v1';
export const stock = 'catalog.stock-changed.v1';
export const clear = 'basket.clear.v1';
/** Only waited for when something is wrong. */
const patienceMs = 20_000;
export const never: AbortSignal = new AbortController().signal;

export function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'waybill-bus-'));
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

export interface Bus {
  readonly service: string;
  readonly store: SqliteStoreSession;
  readonly session: TransportSession;
  readonly reported: readonly { readonly name: string; readonly detail: any }[];
  /** Codes of the `ledger` signals so far, with their source. */
  readonly ledgers: () => string[];
  stop(): Promise<void>;
}

export interface BusOptions {
  readonly clock?: Clock;
  /** Where its store lies; default: it is the ledger. */
  readonly file?: string;
}

/** A bus without rooms: its store, and its session at the transport. Closed after the test. */
export async function start(t: TestContext, directory: string, service: string, options: BusOptions = {}): Promise<Bus> {
  const bus = await open(directory, service, options);
  t.after(() => bus.stop());
  return bus;
}

export async function open(directory: string, service: string, options: BusOptions = {}): Promise<Bus> {
  const reported: { name: string; detail: any }[] = [];
  const host: Host = {
    service,
    migrate: 'auto',
    clock: options.clock ?? systemClock(),
    signals: {
      emit: <N extends SignalName>(name: N, detail: SignalMap[N]) => void reported.push({ name, detail }),
      has: () => true,
      on: () => () => {},
    },
    logger: {
      debug() {},
      info() {},
      warn: (detail, text) => void reported.push({ name: 'warn', detail: { ...detail, text } }),
      error() {},
    },
  };
  const opened = (await store(options.file ?? join(directory, `${service}.db`)).open(host)) as SqliteStoreSession;
  await opened.database.write(({ statements }) => {
    statements.run('create table if not exists effect (n integer primary key, subscription text, source text, id text, label text)');
  });
  let session: TransportSession;
  try {
    session = await sqlite(directory).connect({ ...host, store: opened });
  } catch (error) {
    await opened.close();
    throw error;
  }
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await session.close();
    await opened.close();
  };
  return {
    service,
    store: opened,
    session,
    reported,
    ledgers: () => reported.filter(({ name }) => name === 'ledger').map(({ detail }) => `${detail.source} ${detail.error.code}`),
    stop: () => (stopped ??= stop()),
  };
}

let count = 0;

export function message(source: string, label: string, of: Partial<WireMessage> = {}): WireMessage {
  const id = of.id ?? `${label} ${++count}`;
  return {
    kind: 'event',
    id,
    source,
    type: price,
    recipient: undefined,
    key: undefined,
    time: Date.now(),
    headers: { id, source },
    body: new TextEncoder().encode(label),
    ...of,
  };
}

/** Publishes as a bus would: in a commit of its own store, or through the transport. */
export async function publish(bus: Bus, ...messages: readonly (string | WireMessage)[]): Promise<void> {
  const wires = messages.map((one) => (typeof one === 'string' ? message(bus.service, one) : one));
  const { session, store: its } = bus;
  if (session.ledger === undefined) return void (await session.send(wires));
  await its.transaction((tx) => its.ports.outbox.append(tx, wires));
  session.ledger.hint();
}

export function subscription(name: string, of: Partial<Declaration> = {}): Declaration {
  return { name, bindings: [{ type: price, kind: 'event' }], order: 'any', from: 'now', formerly: [], ...of };
}

export function events(...types: readonly string[]): Declaration['bindings'] {
  return types.map((type) => ({ type, kind: 'event' }));
}

export function labels(deliveries: readonly Pick<Delivery, 'body'>[]): string[] {
  return deliveries.map(({ body }) => new TextDecoder().decode(body));
}

/** The next `number` deliveries, with patience. */
export async function receive(consumer: Consumer, number: number): Promise<Delivery[]> {
  const got: Delivery[] = [];
  const untilMs = performance.now() + patienceMs;
  while (got.length < number && performance.now() < untilMs) {
    got.push(...(await consumer.receive(number - got.length, { waitMs: 1_000, signal: never })));
  }
  assert.equal(got.length, number, `${number} were to come: ${labels(got).join(', ')}`);
  return got;
}

/** Whatever is there now. */
export async function drain(consumer: Consumer, waitMs = 100): Promise<Delivery[]> {
  const got: Delivery[] = [];
  for (;;) {
    const some = await consumer.receive(500, { waitMs, signal: never });
    if (some.length === 0) return got;
    got.push(...some);
  }
}

/** Applies as the inbox does: fence, inbox row, effect and position in one commit. Returns the labels that were new. */
export async function apply(bus: Bus, consumer: Consumer, name: string, deliveries: readonly Delivery[]): Promise<string[]> {
  const { store: its } = bus;
  const fresh = await its.transaction(async (tx) => {
    await consumer.settleIn(tx, []);
    const keys = deliveries.map(({ headers }) => ({ source: headers['source'] ?? '', id: headers['id'] ?? '' }));
    const isNew = await its.ports.inbox.insert(tx, name, keys);
    const { statements } = tx as unknown as SqliteTransaction;
    const applied: string[] = [];
    deliveries.forEach(({ body }, at) => {
      if (isNew[at] !== true) return;
      const label = new TextDecoder().decode(body);
      const { source, id } = keys[at]!;
      statements.run('insert into effect (subscription, source, id, label) values (?, ?, ?, ?)', name, source, id, label);
      applied.push(label);
    });
    await consumer.settleIn(tx, deliveries);
    return applied;
  });
  await consumer.settle(deliveries);
  return fresh;
}

/** Applies whatever comes until there are `number` new effects; drops what is void, as the worker does. */
export async function applyNew(bus: Bus, consumer: Consumer, name: string, number: number): Promise<string[]> {
  const applied: string[] = [];
  const untilMs = performance.now() + patienceMs;
  while (applied.length < number && performance.now() < untilMs) {
    const some = await consumer.receive(100, { waitMs: 1_000, signal: never });
    if (some.length === 0) continue;
    try {
      applied.push(...(await apply(bus, consumer, name, some)));
    } catch (error) {
      if (!WaybillError.is(error, 'LEASE_LOST')) throw error;
    }
  }
  assert.equal(applied.length, number, `${number} new effects were to come: ${applied.join(', ')}`);
  return applied;
}

export async function eventually(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + patienceMs;
  while (!(await check())) {
    assert.ok(performance.now() < untilMs, `${what}, but did not`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Looks into a file, or does to it what only an operator would. */
export function inside<R>(file: string, work: (db: DatabaseSync) => R): R {
  const db = new DatabaseSync(file, { timeout: 5_000 });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

export function effects(directory: string, service: string): { subscription: string; source: string; id: string; label: string }[] {
  return inside(join(directory, `${service}.db`), (db) => db.prepare('select subscription, source, id, label from effect order by n').all()) as never;
}

export function place(directory: string, service: string, name: string, source: string): { position: number; anchor: string | null } | undefined {
  const sql = 'select position, anchor, incarnation from waybill_position where subscription = ? and source = ?';
  return inside(join(directory, `${service}.db`), (db) => db.prepare(sql).get(name, source)) as never;
}

/** `instance.ts` in a process of its own; its lines are JSON. */
export interface Instance {
  readonly process: ChildProcess;
  next<T = any>(): Promise<T>;
  say(line: string): void;
  exited(): Promise<void>;
}

export function instance(t: TestContext, options: object, as: { uid?: number; gid?: number } = {}): Instance {
  const program = fileURLToPath(new URL('instance.ts', import.meta.url));
  const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'], ...as });
  const end = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL'); // ends a stopped one too
    await end;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    process: child,
    async next<T>() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error('the instance has ended');
      return JSON.parse(value) as T;
    },
    say: (line) => void child.stdin.write(`${line}\n`),
    exited: async () => void (await end),
  };
}
