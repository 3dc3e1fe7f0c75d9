/** The same on SQLite: a publisher's file and a subscriber's, in a directory with as many other services as are asked for. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { createBus, type Bus } from 'waybill';
import { silent } from '../rabbitmq/contract.ts';
import { type Flow, flowOf } from './flow.ts';
import { type Cost, costOf, ofPasses } from './meter.ts';

/** Of each flow and backlog: 4,000 messages cost between 20 and 50 µs each in turn, with nothing changed. */
const passes = 5;
/** Handled at a time of what waits: as many as there are at the smallest size. */
const pieceMax = 1_000;

export interface EmbeddedSize {
  /** Rows in the subscriber's inbox, and of history in the publisher's ledger. */
  readonly inbox?: number;
  readonly subscriptions?: number;
  /** In the directory, these two among them. The others are in a process of their own, subscribe to each other and say nothing. */
  readonly services?: number;
}

export async function embeddedFlow(messages: number, { inbox = 0, subscriptions = 1, services = 2 }: EmbeddedSize): Promise<Flow> {
  const dir = await mkdtemp(join(tmpdir(), 'waybill-growth-'));
  const others = services > 2 ? fork(fileURLToPath(new URL('others.ts', import.meta.url)), [dir, String(services - 2)]) : undefined;
  try {
    if (others) await once(others, 'message');
    const of = (service: string): Bus<any> => createBus({ service, store: `sqlite:${join(dir, `${service}.db`)}`, transport: `sqlite:${dir}`, logger: silent });
    const [publisher, bus] = [of('desk'), of('view')];
    await bus.transaction((tx: any) => tx.query('create table effect (key text primary key, n integer not null)'));
    const file = join(dir, 'view.db');
    return await flowOf(bus, {
      messages,
      passes,
      subscriptions,
      from: 'beginning',
      publisher,
      effect: async (key, { tx }) => (tx as { query(text: string, values: unknown[]): unknown }).query('insert into effect values ($1, 1) on conflict (key) do update set n = n + 1', [key]),
      effects: async () => reading(file, (db) => (db.prepare('select sum(n) as n from effect').get() as { n: number }).n),
      fill: async () => {
        if (inbox === 0) return;
        reading(file, (db) => db.exec(`with recursive c(n) as (values (1) union all select n + 1 from c where n < ${inbox})
          insert into waybill_inbox select 'view.s0', 'desk', '00000000-0000-7000-8000-' || printf('%012d', n), ${Date.now()} from c`));
        checkpoint(file);
      },
      cost: (count, work) => costOf(count, work),
    });
  } finally {
    others?.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}

/** Rows that wait in the publisher's ledger while the subscriber is paused; then the first of them are handled. */
export async function embeddedBacklog(messages: number, size: number): Promise<Flow> {
  const dir = await mkdtemp(join(tmpdir(), 'waybill-growth-'));
  const of = (service: string): Bus<any> => createBus({ service, store: `sqlite:${join(dir, `${service}.db`)}`, transport: `sqlite:${dir}`, logger: silent });
  const [publisher, bus] = [of('desk'), of('view')];
  const { flowEvent } = await import('./flow.ts');
  const { payload } = await import('../rabbitmq/contract.ts');
  try {
    await bus.transaction((tx: any) => tx.query('create table effect (key text primary key, n integer not null)'));
    let handled = 0;
    let told = (): void => {};
    const subscription = bus.subscribe(flowEvent(0), { name: 's0', from: 'beginning' }, async ({ key }: { key: string }, ctx: any) => {
      await ctx.tx.query('insert into effect values ($1, 1) on conflict (key) do update set n = n + 1', [key]);
      ctx.afterCommit(() => {
        handled++;
        told();
      });
    });
    await bus.start();
    await publisher.start();
    const until = (count: number): Promise<void> =>
      new Promise((resolve) => {
        told = () => handled >= count && resolve();
        told();
      });
    await publisher.publish(flowEvent(0), payload(0));
    await until(1);
    let filled = 1;
    const fillUp = (): void => {
      const more = size - (filled - handled);
      reading(join(dir, 'desk.db'), (db) => db.exec(`with recursive c(n) as (values (${filled}) union all select n + 1 from c where n < ${filled + more - 1}),
          first as (select * from waybill_ledger order by position limit 1),
          ids as (select n, '00000000-0000-7000-8000-' || printf('%012d', n) as id from c)
        insert into waybill_ledger (kind, id, source, type, recipient, key, time, headers, body, appended)
          select f.kind, i.id, f.source, f.type, f.recipient, 'key-' || i.n % 1000, f.time, replace(f.headers, f.id, i.id), f.body, f.appended from ids i, first f`));
      checkpoint(join(dir, 'desk.db'));
      filled += more;
    };
    await subscription.pause();
    const costs: Cost[] = [];
    while (costs.length < passes) {
      const from = handled;
      const spent = { node: 0, postgres: 0, pages: 0 };
      while (handled - from < messages / passes) {
        fillUp();
        await new Promise((resolve) => setTimeout(resolve, 300)); // its end has been seen
        const aim = handled + Math.min(size, pieceMax);
        const { node, pages } = await costOf(1, async () => {
          await subscription.resume();
          await until(aim);
          await subscription.pause(); // of many that wait some more were handled
        });
        spent.node += node;
        spent.pages += pages;
      }
      const count = handled - from;
      costs.push({ node: spent.node / count, postgres: 0, pages: spent.pages / count });
    }
    await bus.stop();
    const effects = reading(join(dir, 'view.db'), (db) => (db.prepare('select sum(n) as n from effect').get() as { n: number }).n);
    return { cost: ofPasses(costs), correct: effects === handled };
  } finally {
    await publisher.stop();
    await bus.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

/** Of one transaction of gigabytes: pages would be looked for in all of its log, as in no real one. */
function checkpoint(file: string): void {
  reading(file, (db) => db.exec('pragma wal_checkpoint(passive)'));
}

function reading<T>(file: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(file, { timeout: 10_000 });
  try {
    return work(db);
  } finally {
    db.close();
  }
}
