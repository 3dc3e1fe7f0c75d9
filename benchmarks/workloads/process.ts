/**
 * One process of `workloads`, written from the public API alone: it publishes, relays, or handles. Work is asked for by
 * message, one piece after another, and answered with what it took.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus, defineEvent, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import * as z from 'zod';

export interface Setting {
  /** The service's role: `desk` publishes and relays, `view` handles. */
  readonly role: 'publisher' | 'relay' | 'subscriber';
  /** Of each workload its own, so that none finds what another left. */
  readonly name: string;
  readonly dir?: string;
  readonly servers?: { readonly postgres: string; readonly amqp: string };
  readonly bytes: number;
  readonly keys: number;
  readonly order: 'any' | 'by-key' | 'latest';
  /** The handler waits for so long. */
  readonly slowMs: number;
  readonly transaction: 'shared' | 'own' | 'manual';
  /** A subscriber that takes over what another has begun: it handles from `handle` on, and counts what that one did. */
  readonly resumes: boolean;
}

export type Ask =
  /** Into the ledger. */
  | { readonly kind: 'publish'; readonly count: number }
  /** Begins to relay (connected before, so that is not measured), or to handle, and answers when so many are through. */
  | { readonly kind: 'relay'; readonly count: number }
  | { readonly kind: 'handle'; readonly count: number }
  | { readonly kind: 'effects' }
  | { readonly kind: 'end' };

export interface Answer {
  readonly ms: number;
  /** Of this process, user and system, while it worked. */
  readonly cpuUs: number;
  /** The most that was resident meanwhile. */
  readonly peakMegabytes: number;
  /** From `publish` to the effect, of the first and of the last. */
  readonly firstMs?: number;
  readonly lastMs?: number;
  readonly effects?: Effects;
}

export interface Effects {
  readonly count: number;
  /** Sums of the messages' numbers and of their squares. */
  readonly sum: number;
  readonly squares: number;
  /** Out of their key's order; other bytes than were sent. */
  readonly wrong: number;
  readonly spoilt: number;
}

const setting = JSON.parse(process.argv[2]!) as Setting;
const { bytes, keys, order, slowMs, transaction, name, resumes } = setting;
const perTransaction = Math.max(1, Math.min(20, Math.floor(1_000_000 / bytes)));
const quiet = { debug() {}, info() {}, warn() {}, error: (details: unknown, text?: unknown) => console.error(name, text, details) };
const now = (): number => performance.timeOrigin + performance.now();

/** Text that no compression or cache shortens, from another place for each message. */
const others = 90;
const text = ((): string => {
  let [made, a] = ['', 1];
  while (made.length < bytes + 4_096) made += ((a = (Math.imul(a, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32).toString(36).slice(2);
  return made;
})();
const fillerOf = (n: number): string => text.slice(n % 4_096, (n % 4_096) + Math.max(1, bytes - others));

const Event = defineEvent('bench.load', {
  schema: z.object({ key: z.string(), n: z.number().int(), turn: z.number().int(), at: z.number(), filler: z.string() }),
  key: (event) => event.key,
  sequence: (event) => event.turn,
});
const eventOf = (n: number) => ({ key: `key-${n % keys}`, n, turn: Math.floor(n / keys) + 1, at: now(), filler: fillerOf(n) });

function busOf(service: string, relay: 'inline' | 'off' = 'inline'): Bus<any> {
  const { dir, servers } = setting;
  if (servers === undefined) return createBus({ service, store: `sqlite:${join(dir!, `${service}.db`)}`, transport: `sqlite:${dir}`, logger: quiet });
  return createBus({ service, store: postgres(servers.postgres, { schema: `${name}_${service}` }), transport: rabbitmq(servers.amqp, { system: name }), relay, logger: quiet });
}

const works = { publisher, relay, subscriber };

function publisher() {
  const bus = busOf('desk', 'off');
  let published = 0;
  return {
    start: () => bus.start(),
    end: () => bus.stop(),
    async publish(count: number) {
      for (const until = published + count; published < until; ) {
        await bus.transaction(async (tx) => {
          for (let i = 0; i < perTransaction && published < until; i++) await bus.publish(Event, eventOf(published++), { tx });
        });
      }
      return {};
    },
  };
}

function relay() {
  const bus = busOf('desk');
  const all = counter();
  bus.on('sent', ({ type }) => {
    if (type === Event.type) all.add();
  });
  return {
    start: () => bus.transaction(async () => {}), // connects
    end: () => bus.stop(),
    async relay(count: number) {
      void bus.start(); // it relays at once, and ends seconds later, when its own new queue has settled; one that fails ends the process
      await all.until(count);
      return {};
    },
  };
}

function subscriber() {
  const bus = busOf('view');
  const all = counter();
  let firstMs: number | undefined;
  let lastMs = 0;
  const table = `${name}_effect`;
  const write = `insert into ${table} values ($1, 1, $2, $3, $4, 0, $5) on conflict (key) do update set count = ${table}.count + 1,
    wrong = ${table}.wrong + case when excluded.turn > ${table}.turn then 0 else 1 end, turn = excluded.turn,
    sum = ${table}.sum + excluded.sum, squares = ${table}.squares + excluded.squares, spoilt = ${table}.spoilt + excluded.spoilt`;
  bus.on('stale', ({ type }) => type === Event.type && all.add());
  interface Sql {
    query(text: string, values: unknown[]): Promise<unknown>;
  }
  const subscription = bus.subscribe(Event, { name: 'all', order, transaction, from: setting.servers ? 'now' : 'beginning' } as object, async (event, ctx) => {
    if (slowMs > 0) await sleep(slowMs);
    const { key, n, turn, at, filler } = event as ReturnType<typeof eventOf>;
    const record = (tx: Sql): Promise<unknown> => tx.query(write, [key, turn, n, n * n, filler === fillerOf(n) ? 0 : 1]);
    const applied = (): void => {
      lastMs = now() - at;
      firstMs ??= lastMs;
      all.add();
    };
    if (transaction === 'manual') {
      await (ctx as unknown as { transaction(work: (tx: Sql) => Promise<unknown>): Promise<unknown> }).transaction(record);
      return applied();
    }
    await record(ctx.tx as Sql);
    ctx.afterCommit(applied);
  });
  const effects = async (): Promise<Effects> => {
    const found = await bus.transaction((tx) => tx.query(`select sum(count) as count, sum(sum) as sum, sum(squares) as squares, sum(wrong) as wrong, sum(spoilt) as spoilt from ${table}`));
    const [row] = ((found as { rows?: unknown }).rows ?? found) as Record<string, string | number>[];
    return Object.fromEntries(Object.entries(row!).map(([column, value]) => [column, Number(value)])) as unknown as Effects;
  };
  return {
    async start() {
      if (resumes) return all.add((await effects()).count);
      await bus.transaction((tx) =>
        tx.query(`create table ${table} (key text primary key, count integer not null, turn bigint not null, sum double precision not null, squares double precision not null, wrong integer not null, spoilt integer not null)`),
      );
      await bus.start();
      await subscription.ready();
      await subscription.pause();
    },
    end: () => bus.stop(),
    async handle(count: number) {
      firstMs = undefined;
      if (resumes) await bus.start();
      else await subscription.resume();
      await all.until(count);
      return { firstMs, lastMs };
    },
    effects: async () => ({ effects: await effects() }),
  };
}

function counter() {
  let [count, wanted, told] = [0, Infinity, (): void => {}];
  return {
    get count() {
      return count;
    },
    add(many = 1): void {
      count += many;
      if (count >= wanted) told();
    },
    until(many: number): Promise<void> {
      return new Promise((resolve) => {
        [wanted, told] = [many, resolve];
        if (count >= wanted) told();
      });
    },
  };
}

/** proc(5): 5 begins the high-water mark anew. */
const resetPeak = (): void => writeFileSync('/proc/self/clear_refs', '5');
const peakMegabytes = (): number => (Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1_024) / 1e6;

const worker: Record<string, any> = works[setting.role]();
await worker['start']?.();
process.on('message', (ask: Ask) => {
  void (async () => {
    resetPeak();
    const [cpu, began] = [process.cpuUsage(), now()];
    const more = (await worker[ask.kind](...('count' in ask ? [ask.count] : []))) as object;
    const { user, system } = process.cpuUsage(cpu);
    process.send!({ ms: now() - began, cpuUs: user + system, peakMegabytes: peakMegabytes(), ...more } satisfies Answer, () => {
      if (ask.kind === 'end') process.exit(0);
    });
  })();
});
process.send!('ready');
