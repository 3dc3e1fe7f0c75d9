/** What the tests of the SQLite store need: real files in a folder of their own, and processes to share them with. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock, type Clock } from '../../src/contract/clock.ts';
import type { WireMessage } from '../../src/contract/message.ts';
import type { SignalMap, SignalName } from '../../src/contract/signals.ts';
import type { FailureRow, Host, WaitingEntry } from '../../src/contract/store.ts';
import type { SqlTransaction } from '../../src/contract/transaction.ts';
import { sqlite } from '../../src/stores/sqlite/index.ts';
import type { SqliteStoreSession } from '../../src/stores/sqlite/port.ts';

export function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'waybill-sqlite-'));
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

export interface TestHost extends Host {
  readonly reported: { name: SignalName; detail: unknown }[];
  /** Set it to stop the wall clock. */
  nowMs: number | undefined;
}

export function testHost(service = 'catalog', migrate: Host['migrate'] = 'auto'): TestHost {
  const system = systemClock();
  const reported: TestHost['reported'] = [];
  const host: TestHost = {
    service,
    migrate,
    reported,
    nowMs: undefined,
    clock: { ...system, now: () => host.nowMs ?? system.now() } satisfies Clock,
    signals: {
      emit: <N extends SignalName>(name: N, detail: SignalMap[N]) => void reported.push({ name, detail }),
      has: () => true,
      on: () => () => {},
    },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  };
  return host;
}

/** Opens a store, and closes it after the test. */
export async function openStore(t: TestContext, file: string, host: Host = testHost()): Promise<SqliteStoreSession> {
  const session = (await sqlite(file).open(host)) as SqliteStoreSession;
  t.after(() => session.database.close());
  return session;
}

/** Where a test of both kinds keeps its database: `:memory:`, or a file of its own. */
export function placeOf(t: TestContext, where: string): string {
  return where === ':memory:' ? where : join(folder(t), 'catalog.db');
}

/** A store with the table `item (n, who)` of a user. */
export async function withTable(t: TestContext, file: string = placeOf(t, 'a file')): Promise<SqliteStoreSession> {
  const store = await openStore(t, file);
  await store.transaction((tx) => tx.native.query('create table if not exists item (n integer, who text)'));
  return store;
}

export function insert(tx: SqlTransaction, n: number): Promise<unknown> {
  return tx.query('insert into item values ($1, null)', [n]);
}

/** Committed rows of the table `item`, in the order of their insertion. */
export function items(store: SqliteStoreSession): Promise<number[]> {
  return store.database.read((statements) => statements.all<{ n: number }>('select n from item order by rowid').map((row) => row.n));
}

/** For `assert.rejects` and `assert.throws`: the error has this code. */
export function code(expected: string): (error: { code?: string }) => true {
  return (error) => {
    assert.equal(error.code, expected, String(error));
    return true;
  };
}

let number = 0;

export function wire(changes: Partial<WireMessage> = {}): WireMessage {
  return {
    kind: 'event',
    id: `m${++number}`,
    source: 'catalog',
    type: 'catalog.price-changed.v1',
    recipient: undefined,
    key: undefined,
    time: 1_700_000_000_000,
    headers: { 'ce-id': 'x' },
    body: new TextEncoder().encode('{"price":1}'),
    ...changes,
  };
}

export function waitingEntry(changes: Partial<WaitingEntry> = {}): WaitingEntry {
  return {
    subscription: 'basket.prices',
    message: wire(),
    dueMs: 0,
    attempt: 0,
    attempts: 11,
    firstFailedMs: undefined,
    error: undefined,
    reason: 'retry',
    inOrder: false,
    ...changes,
  };
}

export function failure(changes: Partial<FailureRow> = {}): FailureRow {
  return {
    subscription: 'basket.prices',
    message: wire(),
    error: { code: 'HANDLER_FAILED', message: 'no', stack: undefined },
    attempts: 3,
    firstFailedMs: 1,
    lastFailedMs: 2,
    holds: false,
    ...changes,
  };
}

/** A program of this folder in a process of its own; its lines are JSON. */
export interface Child {
  readonly process: ChildProcess;
  readonly lines: AsyncIterator<string>;
  next<T>(): Promise<T>;
  ended(): Promise<number | null>;
}

export function child(t: TestContext, program: string, options: object, as: { uid?: number; gid?: number } = {}): Child {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const process_ = spawn(process.execPath, [path, JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'], ...as });
  const end = once(process_, 'exit');
  t.after(async () => {
    if (process_.exitCode === null && process_.signalCode === null) process_.kill('SIGKILL');
    await end;
  });
  const lines = createInterface({ input: process_.stdout })[Symbol.asyncIterator]();
  return {
    process: process_,
    lines,
    async next<T>() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${program} has ended`);
      return JSON.parse(value) as T;
    },
    async ended() {
      return ((await end) as [number | null])[0];
    },
  };
}

/** For a guard that needs what not every machine has: skipped with the reason, but never in CI. */
export function skipUnless(possible: boolean, reason: string): string | false {
  if (possible) return false;
  if (process.env['CI'] === 'true') throw new Error(`${reason} (under CI=true that is a failure, not a skip)`);
  return reason;
}
