/**
 * One process of the embedded benchmark, written from the public API alone. Its role and folder come in argv; work is
 * asked for by message, one piece after another, and answered with what it took.
 */
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';
import { filler, workload } from '../workload.ts';

export type Role = 'bare' | 'publisher' | 'small' | 'subscriber';
export type Ask =
  /** As fast as it goes, 20 to a transaction. */
  | { readonly kind: 'flood'; readonly ms: number }
  /** One message each `everyMs`, each alone. */
  | { readonly kind: 'pace'; readonly ms: number; readonly everyMs: number }
  | { readonly kind: 'until'; readonly count: number }
  | { readonly kind: 'latencies' }
  | { readonly kind: 'idle'; readonly ms: number }
  | { readonly kind: 'end' };
export interface Answer {
  readonly count: number;
  readonly ms: number;
  /** Of this process, user and system, while it worked. */
  readonly cpuUs: number;
  readonly times: readonly number[];
}

const perTransaction = 20;

export const Counted = defineEvent('bench.counted', {
  schema: z.object({ key: z.string(), n: z.number().int(), at: z.number(), pad: z.string() }),
  key: (event) => event.key,
});
const { keys } = workload;
const pad = filler(70);
const now = (): number => performance.timeOrigin + performance.now();

const [, , role, dir] = process.argv as unknown as [string, string, Role, string];
const quiet = { debug() {}, info() {}, warn() {}, error: (details: unknown, text?: unknown) => console.error(text, details) };
const busOf = (service: string) => createBus({ service, store: `sqlite:${dir}/${service}.db`, transport: `sqlite:${dir}`, logger: quiet });

/** Plain inserts: what the file and the disk can do. */
function bare(): Record<string, (ask: any) => Promise<{ count: number; times?: number[] }>> {
  const db = new DatabaseSync(`${dir}/bare.sqlite`);
  db.exec('pragma journal_mode=wal; pragma synchronous=full');
  db.exec('create table row (position integer primary key autoincrement, id text not null, type text not null, key text, time integer not null, body blob not null) strict');
  const insert = db.prepare('insert into row (id, type, key, time, body) values (?, ?, ?, ?, ?)');
  const [begin, commit] = [db.prepare('begin immediate'), db.prepare('commit')];
  let n = 0;
  const one = (): void => {
    const key = `k${n % keys}`;
    const body = Buffer.from(JSON.stringify({ key, n, at: now(), pad }));
    insert.run(`00000000-0000-7000-8000-${String(n++).padStart(12, '0')}`, 'bench.counted.v1', key, Date.now(), body);
  };
  const some = (many: number): void => {
    begin.run();
    for (let i = 0; i < many; i++) one();
    commit.run();
  };
  return {
    async flood({ ms }) {
      const first = n;
      for (let turn = 1, until = now() + ms; now() < until; turn++) {
        some(perTransaction);
        if (turn % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      return { count: n - first };
    },
    async pace({ ms, everyMs }) {
      const times: number[] = [];
      for (const until = now() + ms; now() < until; await sleep(everyMs)) {
        const began = now();
        some(1);
        times.push(now() - began);
      }
      return { count: times.length, times };
    },
  };
}

function publisher(keyPrefix: string) {
  const bus = busOf('bench');
  const counts = new Map<string, number>();
  let published = 0;
  const next = (): { key: string; n: number; at: number; pad: string } => {
    const key = `${keyPrefix}${published++ % keys}`;
    const n = (counts.get(key) ?? 0) + 1;
    counts.set(key, n);
    return { key, n, at: now(), pad };
  };
  return {
    start: () => bus.start(),
    end: () => bus.stop(),
    async flood({ ms }: { ms: number }) {
      const first = published;
      for (const until = now() + ms; now() < until; ) {
        await bus.transaction(async (tx) => {
          for (let i = 0; i < perTransaction; i++) await bus.publish(Counted, next(), { tx });
        });
      }
      return { count: published - first };
    },
    async pace({ ms, everyMs }: { ms: number; everyMs: number }) {
      const times: number[] = [];
      for (const until = now() + ms; now() < until; await sleep(everyMs)) {
        const began = now();
        await bus.publish(Counted, next());
        times.push(now() - began);
      }
      return { count: times.length, times };
    },
  };
}

function subscriber() {
  const bus = busOf('view');
  let handled = 0;
  let wanted: { count: number; reached: () => void } | undefined;
  let latencies: number[] = [];
  return {
    async start() {
      await bus.transaction((tx) => tx.query('create table effect (key text primary key, n integer not null, count integer not null, wrong integer not null)'));
      bus.subscribe(Counted, { order: 'by-key', from: 'beginning' }, async (event, ctx) => {
        await ctx.tx.query(
          `insert into effect values ($1, $2, 1, 0) on conflict (key) do update
           set wrong = wrong + (excluded.n <> n + 1), n = excluded.n, count = count + 1`,
          [event.key, event.n],
        );
        ctx.afterCommit(() => {
          if (latencies.length < 100_000) latencies.push(now() - event.at);
          if (++handled === wanted?.count) wanted.reached();
        });
      });
      await bus.start();
    },
    end: () => bus.stop(),
    async until({ count }: { count: number }) {
      const first = handled;
      if (handled < count) await new Promise<void>((reached) => (wanted = { count, reached }));
      return { count: handled - first };
    },
    async latencies() {
      const times = latencies;
      latencies = [];
      return { count: times.length, times };
    },
    async idle({ ms }: { ms: number }) {
      await sleep(ms);
      return { count: 0 };
    },
  };
}

if (process.send) {
  const worker: Record<string, any> = role === 'bare' ? bare() : role === 'subscriber' ? subscriber() : publisher(role === 'small' ? 's' : 'k');
  await worker['start']?.();
  process.on('message', (ask: Ask) => {
    void (async () => {
      const cpu = process.cpuUsage();
      const began = now();
      const answer = ((await worker[ask.kind]?.(ask)) ?? { count: 0 }) as { count: number; times?: number[] };
      const { user, system } = process.cpuUsage(cpu);
      const full: Answer = { count: answer.count, ms: now() - began, cpuUs: user + system, times: answer.times ?? [] };
      process.send!(full, () => {
        if (ask.kind === 'end') process.disconnect();
      });
    })();
  });
  process.send('ready');
}
