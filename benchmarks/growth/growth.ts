/**
 * What a message costs where there is much of everything else: rows that wait to be sent, rows in the inbox, messages that
 * wait for a retry or have failed, subscriptions in the service, services in the directory. Processor time per message
 * (this process and PostgreSQL's backends), not time that passes, the least of the rounds: beside the smallest of each, in
 * turn in one run.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { atMost, type Ratio, type Report, rounded } from '../report.ts';
import { embeddedBacklog, embeddedFlow } from './embedded.ts';
import type { Flow } from './flow.ts';
import { type Cost, total } from './meter.ts';
import { postgresGround } from './postgres.ts';

/** At worst, beside the smallest. */
const flat = 1.3;

interface Line {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly at: (size: number) => Promise<Flow>;
  /** At ten million rows in one round only: to fill them takes minutes. */
  readonly slow?: boolean;
}

/** Of a quick run: a hundred thousand rows at most, and one round of each. */
const short: Sizes = { messages: 2_000, rows: 5_000, rounds: 1, passes: 1, ends: true, most: 'some' };

export async function growth({ quick }: { quick: boolean }): Promise<Report> {
  return measured('growth', quick ? short : { messages: 10_000, rows: 50_000, rounds: 3, passes: 3, ends: false, most: 'all' });
}

/** Of rows, the least and ten million of them, those of PostgreSQL once: filling them takes minutes. With the statements' plans at that size. */
export async function growthAtSize({ quick }: { quick: boolean }): Promise<Report> {
  const report = await measured('growth-at-size', quick ? short : { messages: 4_000, rows: 20_000, rounds: 2, passes: 3, ends: true, most: 'all' });
  const [ledger, rest] = quick ? [1e5, 1e4] : [1e7, 1e6];
  return { ...report, plans: { [`behind ${ledger.toLocaleString('en')} published rows`]: plansOf('plans.ts', ledger), [`beside ${rest.toLocaleString('en')} rows each of what waits, the inbox, sagas and events`]: plansOf('at-size.ts', rest) } };
}

/** Rows that a step of the plan touches, and ms in the server, by statement; printed by the scripts beside the tests. */
function plansOf(script: string, rows: number): Record<string, { readonly touched: number; readonly ms: number }> {
  const file = fileURLToPath(new URL(`../../packages/waybill/test/postgres/${script}`, import.meta.url));
  const lines = execFileSync(process.execPath, [file, String(rows)], { encoding: 'utf8' });
  console.log(lines);
  return Object.fromEntries([...lines.matchAll(/^(.+?) +(\d+) rows +([\d.]+) ms$/gm)].map(([, name, touched, ms]) => [name!, { touched: Number(touched), ms: Number(ms) }]));
}

interface Sizes {
  readonly messages: number;
  readonly rows: number;
  readonly rounds: number;
  /** Of each flow on PostgreSQL: what else runs makes one of them half as dear again. */
  readonly passes: number;
  readonly ends: boolean;
  readonly most: 'some' | 'all';
}

async function measured(name: string, { messages, rows, rounds, passes, ends, most: extent }: Sizes): Promise<Report> {
  const some = extent === 'some';
  const upTo = (most: number): readonly number[] => [1e3, 1e4, 1e5, 1e6, 1e7].filter((size) => size <= most && (!ends || size === 1e3 || size === most));
  const ground = await postgresGround({ messages, rows, passes });
  const lines: Line[] = [
    { name: 'PostgreSQL: rows waiting to be sent, a window of the relay', sizes: upTo(some ? 1e5 : 1e7), at: (size) => ground.backlog(size), slow: true },
    { name: 'PostgreSQL: rows in the inbox', sizes: upTo(some ? 1e5 : 1e7), at: (inbox) => ground.flow({ inbox }), slow: true },
    { name: 'PostgreSQL: messages waiting for a retry, and as many failed', sizes: [0, some ? 1e5 : 1e6], at: (waiting) => ground.flow({ waiting }) },
    { name: 'PostgreSQL: subscriptions in the service', sizes: ends ? [1, 1_000] : [1, 10, 100, 1_000], at: (subscriptions) => ground.flow({ subscriptions }) },
    { name: 'SQLite: rows waiting to be read', sizes: upTo(some ? 1e5 : 1e7), at: (size) => embeddedBacklog(rows, size) },
    { name: 'SQLite: rows in the inbox', sizes: upTo(some ? 1e5 : 1e7), at: (inbox) => embeddedFlow(messages, { inbox }) },
    { name: 'SQLite: subscriptions in the service', sizes: ends ? [1, 1_000] : [1, 10, 100, 1_000], at: (subscriptions) => embeddedFlow(messages, { subscriptions }) },
    { name: 'SQLite: services in the directory', sizes: ends ? [2, 100] : [2, 10, 100], at: (services) => embeddedFlow(messages, { services }) },
  ];
  const only = process.env['GROWTH'] ?? (name === 'growth-at-size' ? ': rows' : undefined);
  const ratios: Ratio[] = [];
  const table: Record<string, Record<string, Cost>> = {};
  let correct = true;
  try {
    for (const line of lines.filter(({ name }) => only === undefined || name.includes(only))) {
      const costs = new Map<number, Cost[]>(line.sizes.map((size) => [size, []]));
      for (let round = 0; round < rounds; round++) {
        for (const size of line.sizes) {
          if (round > 0 && ends && line.slow && size >= 1e7) continue;
          const found = await line.at(size);
          if (!found.correct) console.error(`${line.name}, ${size}: not every message had its effect once`);
          correct &&= found.correct;
          costs.get(size)!.push(found.cost);
        }
      }
      const of = (size: number): Cost => least(costs.get(size)!);
      const [smallest, ...larger] = line.sizes;
      table[line.name] = Object.fromEntries(line.sizes.map((size) => [size, of(size)]));
      const most = larger.reduce((worst, size) => (total(of(size)) > total(of(worst)) ? size : worst), larger[0]!);
      ratios.push(atMost(`${line.name}: ${most.toLocaleString('en')} beside ${smallest}`, total(of(most)) / total(of(smallest!)), flat));
      console.log(`${line.name}: ${line.sizes.map((size) => `${size} ${total(of(size)).toFixed(1)} µs`).join(', ')}`);
    }
  } finally {
    await ground.close();
  }
  return { name, ratios, correct, messages, costPerMessage: table };
}

/** What else runs on the machine only adds. */
function least(costs: readonly Cost[]): Cost {
  const of = (part: keyof Cost): number => rounded(Math.min(...costs.map((cost) => cost[part])));
  return { node: of('node'), postgres: of('postgres'), pages: of('pages') };
}
