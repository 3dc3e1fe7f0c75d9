/** Processor time that a piece of work took, whoever else ran meanwhile: of this process and of PostgreSQL's backends. */
import { readFileSync, readdirSync } from 'node:fs';
import type pg from 'pg';

export interface Cost {
  /** Processor time per message, µs. */
  readonly node: number;
  readonly postgres: number;
  /** Per message, the same however busy the machine is: pages that PostgreSQL touched; on SQLite, 4 kB read and written by this process (on Linux). */
  readonly pages: number;
}

export const total = ({ node, postgres }: Cost): number => node + postgres;

/** Of equal pieces of work, one after another: processor time of the least, pages of all, since every so many are checkpointed. */
export function ofPasses(costs: readonly Cost[]): Cost {
  const least = (part: 'node' | 'postgres'): number => Math.min(...costs.map((cost) => cost[part]));
  return { node: least('node'), postgres: least('postgres'), pages: costs.reduce((sum, { pages }) => sum + pages, 0) / costs.length };
}

/** @param admin a connection of another database, whose own work is not counted */
export async function costOf(messages: number, work: () => Promise<void>, postgres?: { readonly postmaster: number; readonly admin: pg.Client; readonly database: string }): Promise<Cost> {
  const pagesBefore = await pagesOf(postgres);
  const backendsBefore = postgres ? backendsUs(postgres.postmaster) : new Map<number, number>();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  let backends = 0;
  if (postgres) for (const [pid, us] of backendsUs(postgres.postmaster)) backends += us - (backendsBefore.get(pid) ?? 0);
  const pages = (await pagesOf(postgres)) - pagesBefore;
  return { node: (user + system) / messages, postgres: backends / messages, pages: pages / messages };
}

/** Of client connections alone: what vacuum and the checkpointer do after a table was filled is not the messages'. */
function backendsUs(postmaster: number): Map<number, number> {
  const found = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const title = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      if (!/^postgres: \S+ \S+ 127\.0\.0\.1/.test(title)) continue;
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) !== postmaster) continue;
      found.set(Number(name), Number(readFileSync(`/proc/${name}/schedstat`, 'utf8').split(' ')[0]) / 1_000);
    } catch {
      // it has ended
    }
  }
  return found;
}

/** A backend reports what it did once it is idle, at most a second late. */
async function pagesOf(postgres?: { readonly admin: pg.Client; readonly database: string }): Promise<number> {
  if (postgres === undefined) return ownPages();
  const { admin, database } = postgres;
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  const { rows } = await admin.query('select (blks_hit + blks_read)::float8 as pages from pg_stat_database where datname = $1', [database]);
  return rows[0].pages as number;
}

function ownPages(): number {
  if (process.platform !== 'linux') return 0;
  const [, read, written] = /^rchar: (\d+)\nwchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))!;
  return (Number(read) + Number(written)) / 4_096;
}
