/**
 * The relay while another session holds an old snapshot (a forgotten transaction, a long report), which keeps vacuum from
 * removing anything: beside the same without it, in turn in one run. Each drained queue is read back and checked.
 */
import pg from 'pg';
import { atLeast, atMost, median, quantile, type Report } from '../report.ts';
import { drainQueue, fill } from './contract.ts';
import { measured, startServers } from './servers.ts';
import { bindSink, drain, sinkQueue } from './sink.ts';

/** The store's default. */
const schema = 'waybill';

export async function relayHeldSnapshot({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 10_000 : 100_000;
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres });
  pool.on('error', () => {});
  try {
    await bindSink(servers);
    const rates: Record<'free' | 'held', number[]> = { free: [], held: [] };
    const polls: number[] = [];
    let correct = true;
    let from = 0;
    const one = async (): Promise<number> => {
      await fill(servers, 'bench', count, from);
      from += count;
      const { rate } = await measured(servers, count, () => drain(servers, count));
      const { distinct, inverted } = await drainQueue(servers, sinkQueue, count);
      correct &&= distinct === count && inverted === 0;
      return rate;
    };
    await one(); // warm, and the rows that the snapshot keeps
    for (let round = 0; round < 3; round++) {
      rates.free.push(await one());
      const holder = await pool.connect();
      try {
        await holder.query(`begin isolation level repeatable read; select count(*) from ${schema}.ledger`);
        rates.held.push(await one());
        polls.push(...(await emptyPolls(pool)));
      } finally {
        holder.release(true);
      }
    }
    return {
      name: 'relay-held-snapshot',
      ratios: [
        atLeast('messages/s without the snapshot', median(rates.held) / median(rates.free), 0.9),
        atMost('an empty poll while it is held, in ms', quantile(polls, 0.5), 2),
      ],
      correct,
      messages: count,
      perSecond: { free: rates.free.map(Math.round), held: rates.held.map(Math.round) },
    };
  } finally {
    await pool.end();
    await servers.close();
  }
}

/** The relay's own statement, from the position at which it stands. */
async function emptyPolls(pool: pg.Pool): Promise<number[]> {
  const { poll } = await import('../../packages/waybill/src/stores/postgres/reading.ts');
  const { rows } = await pool.query<{ base: string; floor: number }>(`select base::text, era_floor as floor from ${schema}.position order by no desc limit 1`);
  const { base, floor } = rows[0]!;
  const sql = { query: async (text: string, values: unknown[]) => (await pool.query(text, values)).rows };
  const times: number[] = [];
  for (let i = 0; i < 50; i++) {
    const began = performance.now();
    const found = await poll(sql as never, schema, { base, floor: Number(floor), max: 500 });
    times.push(performance.now() - began);
    if (found.rows.length > 0) throw new Error('the poll is not empty: something was left unsent');
  }
  return times;
}
