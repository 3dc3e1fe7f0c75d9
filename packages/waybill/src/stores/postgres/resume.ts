/**
 * After the ledger moved to another cluster (restore, pg_upgrade, logical copy): its snapshots compare transaction ids of
 * a cluster that is gone. In goes the schema; out comes a position from which the relay publishes what the old cluster
 * had not, and then goes on by the new cluster's ids. Safe whatever the cause, and safe to run twice; a crash in between
 * leaves the old position or the new one.
 */
import { clientOf } from '../../clients/recognise.ts';
import { WaybillError } from '../../contract/errors.ts';
import { textValues } from './port.ts';
import { quoted } from './schema.ts';

/**
 * To be run once after a restore, while no relay runs: the relay refuses to (`LEDGER_REWOUND`) until it was.
 * @param client a `pg` Pool, or any client that `postgres(client)` takes, on the restored database
 * @throws WaybillError `LEDGER_REWOUND` when the ledger's sequence stands before its rows (logical replication does not copy
 *   sequences): set it with `setval` first. A lock that is not to be had within 10 s is the database's own error
 */
export async function resumeAfterRestore(client: object, options: { readonly schema?: string } = {}): Promise<{ readonly unpublishedUpTo: number }> {
  const s = quoted(options.schema ?? 'waybill');
  return clientOf(client).transaction(async (sql) => {
    // waits for open writers, so that every position up to the floor is decided; readers go on
    await sql.execute(`lock table ${s}.ledger in share row exclusive mode`);
    const [found] = await sql.query<{ top: string; sequence: string; high: string | null }>(
      `select (select coalesce(max(pos), 0) from ${s}.ledger)::text as top,
         (select last_value from pg_sequences where (quote_ident(schemaname) || '.' || quote_ident(sequencename))::regclass
           = pg_get_serial_sequence('${s.replaceAll("'", "''")}.ledger', 'pos')::regclass)::text as sequence,
         (select high from ${s}.position order by no desc limit 1)::text as high`,
    );
    const top = Number(found!.top);
    const sequence = Number(found!.sequence ?? 0);
    if (sequence < top || sequence < Number(found!.high ?? 0)) {
      throw new WaybillError(
        'LEDGER_REWOUND',
        `The sequence of ${s}.ledger stands at ${sequence}, and positions up to ${Math.max(top, Number(found!.high ?? 0))} are used: set it with setval, then resume.`,
      );
    }
    const floor = Math.max(top, sequence);
    await sql.execute(
      `insert into ${s}.position (no, epoch, owner, expires_at, system, base, targets, after, high, era_floor, resume_to, resume_at, resumed)
       select p.no + 1, p.epoch + 1, '', clock_timestamp(), i.system_identifier::text, p.base, p.targets, p.after, p.high, p.era_floor,
         $1::text::bigint, pg_current_snapshot(), case when p.resume_to is null then p.era_floor else p.resumed end
       from pg_control_system() i, (select * from ${s}.position order by no desc limit 1) p`,
      textValues([floor]),
    );
    return { unpublishedUpTo: floor };
  });
}
