/**
 * What a message costs where there is much of everything else: rows that wait to be sent, rows in the inbox, messages that
 * wait for a retry or have failed, subscriptions in the service, services in the directory. Processor time per message
 * (this process and PostgreSQL's backends), not time that passes, the least of the rounds: beside the smallest of each, in
 * turn in one run.
 */
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
}

export async function growth({ quick }: { quick: boolean }): Promise<Report> {
  const [messages, rows, rounds] = quick ? [2_000, 10_000, 2] : [10_000, 50_000, 3];
  const upTo = (most: number): readonly number[] => [1e3, 1e4, 1e5, 1e6, 1e7].filter((size) => size <= most && (!quick || size === 1e3 || size === most));
  const ground = await postgresGround(messages, rows);
  const lines: Line[] = [
    { name: 'PostgreSQL: rows waiting to be sent, a window of the relay', sizes: upTo(quick ? 1e5 : 1e7), at: (size) => ground.backlog(size) },
    { name: 'PostgreSQL: rows in the inbox', sizes: upTo(quick ? 1e5 : 1e7), at: (inbox) => ground.flow({ inbox }) },
    { name: 'PostgreSQL: messages waiting for a retry, and as many failed', sizes: [0, quick ? 1e5 : 1e6], at: (waiting) => ground.flow({ waiting }) },
    { name: 'PostgreSQL: subscriptions in the service', sizes: quick ? [1, 100] : [1, 10, 100, 1_000], at: (subscriptions) => ground.flow({ subscriptions }) },
    { name: 'SQLite: rows waiting to be read', sizes: upTo(quick ? 1e5 : 1e7), at: (size) => embeddedBacklog(rows, size) },
    { name: 'SQLite: rows in the inbox', sizes: upTo(quick ? 1e5 : 1e7), at: (inbox) => embeddedFlow(messages, { inbox }) },
    { name: 'SQLite: subscriptions in the service', sizes: quick ? [1, 100] : [1, 10, 100, 1_000], at: (subscriptions) => embeddedFlow(messages, { subscriptions }) },
    { name: 'SQLite: services in the directory', sizes: quick ? [2, 50] : [2, 10, 100], at: (services) => embeddedFlow(messages, { services }) },
  ];
  const only = process.env['GROWTH'];
  const ratios: Ratio[] = [];
  const table: Record<string, Record<string, Cost>> = {};
  let correct = true;
  try {
    for (const line of lines.filter(({ name }) => only === undefined || name.includes(only))) {
      const costs = new Map<number, Cost[]>(line.sizes.map((size) => [size, []]));
      for (let round = 0; round < rounds; round++) {
        for (const size of line.sizes) {
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
  return { name: 'growth', ratios, correct, messages, costPerMessage: table };
}

/** What else runs on the machine only adds. */
function least(costs: readonly Cost[]): Cost {
  const of = (part: keyof Cost): number => rounded(Math.min(...costs.map((cost) => cost[part])));
  return { node: of('node'), postgres: of('postgres'), pages: of('pages') };
}
