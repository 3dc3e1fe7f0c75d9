/**
 * Bytes of write-ahead log that sending a backlog costs, beside the usual relay that claims 500 and marks them. After a
 * checkpoint each, so that whole pages do not blur it. What trickled messages cost (one at a time) is printed, with no goal.
 */
import pg from 'pg';
import { atMost, type Report, rounded } from '../report.ts';
import { busOf, Counted, drainQueue, fill, payload } from './contract.ts';
import { usual } from './relay-drain.ts';
import { startServers } from './servers.ts';
import { bindSink, drain, sent, sinkQueue } from './sink.ts';

export async function walPerMessage({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 20_000 : 100_000;
  const few = 300;
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres });
  pool.on('error', () => {});
  const bytes = async (work: () => Promise<unknown>): Promise<number> => {
    await pool.query('checkpoint');
    const { rows: [before] } = await pool.query('select pg_current_wal_insert_lsn()::text as lsn');
    await work();
    const { rows: [after] } = await pool.query('select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::float8 as bytes', [before.lsn]);
    return after.bytes as number;
  };
  try {
    await bindSink(servers);
    await fill(servers, 'bench', count, 0);
    const ours = (await bytes(() => drain(servers, count))) / count;
    const { distinct, inverted, sample } = await drainQueue(servers, sinkQueue, count);
    let marking = 0;
    await usual(servers, sample, count, 500, async (work) => {
      marking = (await bytes(work)) / count;
    });
    const bus = busOf(servers, 'bench');
    await bus.start();
    const trickled = await bytes(async () => {
      for (let n = 0; n < few; n++) {
        const one = sent(bus, 1);
        await bus.publish(Counted, payload(count + n));
        await one;
      }
    });
    await bus.stop();
    return {
      name: 'wal-per-message',
      ratios: [atMost('claim 500 and mark', ours / marking, 0.02)],
      correct: distinct === count && inverted === 0,
      messages: count,
      bytesPerMessage: { waybill: rounded(ours), claimAndMark: rounded(marking), trickledWithTheRowItself: rounded(trickled / few) },
    };
  } finally {
    await pool.end();
    await servers.close();
  }
}
