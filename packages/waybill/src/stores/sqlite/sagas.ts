/**
 * Long conversations: one row for each instance. In goes a state with the number of its revision; it is written over the
 * revision before it or not at all. Ended rows stay as tombstones until they are trimmed.
 *
 * A step costs one search and one write by index, in the transaction of its message.
 */
import type { Host, ListedSaga, SagaRow, SagasPort } from '../../contract/store.ts';
import { sqliteTransaction } from './port.ts';
import type { SqliteDatabase, SqlValue, Statements } from './port.ts';
import { dueColumn } from './waiting.ts';
import { wallMs } from './wire.ts';

const limitDefault = 100;
const limitMax = 1_000;
const columns = 'saga, key, version, revision, status, state, ledger, started as startedMs, changed as changedMs';

export function createSagasPort(database: SqliteDatabase, { clock }: Host): SagasPort {
  return {
    load: (tx, saga, key) =>
      sqliteTransaction(tx, database).writing((statements) => {
        // search by waybill_saga_key
        const found = statements.get<SagaRow>(`select ${columns} from waybill_saga where saga = ? and key = ?`, saga, key);
        return found && { ...found };
      }),

    save: (tx, row) => sqliteTransaction(tx, database).writing((statements) => save(statements, row)),

    awaken: (tx, saga, key, due) =>
      sqliteTransaction(tx, database).writing((statements) => {
        // search by waybill_waiting_unknown
        const sql = `update waybill_waiting set due = min(due, ?3)
          where subscription = ?1 and key = ?2 and error_code = 'SAGA_NOT_FOUND'`;
        statements.run(sql, saga, key, dueColumn(due, clock.now()));
      }),

    list: (filter) => database.read((statements) => list(statements, filter)),

    counts: () =>
      database.read((statements) => {
        // scan of waybill_saga_counts alone, in its order
        const sql = `select saga, version, status, count(*) as count from waybill_saga group by saga, version, status`;
        return statements.all<Awaited<ReturnType<SagasPort['counts']>>[number]>(sql).map((row) => ({ ...row }));
      }),

    trim: (beforeMs, max) =>
      database.write(({ statements }) => {
        // search by waybill_saga_ended, ended by limit; two searches per row by waybill_waiting_line, waybill_failures_hold
        const sql = `delete from waybill_saga where row in
          (select row from waybill_saga as s indexed by waybill_saga_ended where status in ('completed', 'compensated') and changed < ?
           and not exists (select 1 from waybill_waiting w where w.subscription = s.saga and w.key = s.key and w.in_order = 1)
           and not exists (select 1 from waybill_failures f where f.subscription = s.saga and f.key = s.key and f.holds = 1)
           order by changed limit ?)`;
        return statements.run(sql, wallMs(beforeMs), max).changes;
      }),
  };
}

function save(statements: Statements, row: SagaRow): boolean {
  const { saga, key, version, revision, status, state, ledger, startedMs, changedMs } = row;
  if (revision === 1) {
    const sql = `insert into waybill_saga (saga, key, version, revision, status, state, ledger, started, changed)
      values (?, ?, ?, 1, ?, ?, ?, ?, ?) on conflict do nothing`;
    return statements.run(sql, saga, key, version, status, state, ledger, wallMs(startedMs), wallMs(changedMs)).changes === 1;
  }
  // search by waybill_saga_key
  const sql = `update waybill_saga set version = ?, revision = ?, status = ?, state = ?, ledger = ?, changed = ?
    where saga = ? and key = ? and revision = ?`;
  return statements.run(sql, version, revision, status, state, ledger, wallMs(changedMs), saga, key, revision - 1).changes === 1;
}

function list(statements: Statements, { saga, key, status, after = 0, limit = limitDefault }: Parameters<SagasPort['list']>[0]): ListedSaga[] {
  const conditions: [string, SqlValue][] = [['row > ?', after]];
  if (saga !== undefined) conditions.push(['saga = ?', saga]);
  if (key !== undefined) conditions.push(['key = ?', key]);
  if (status !== undefined) conditions.push(['status = ?', status]);
  // search by waybill_saga_key, waybill_saga_of or waybill_saga_status, else by row; in the order of rows, ended by limit
  const sql = `select row, ${columns} from waybill_saga where ${conditions.map(([condition]) => condition).join(' and ')}
    order by row limit ?`;
  const found = statements.all<ListedSaga>(sql, ...conditions.map(([, value]) => value), Math.min(Math.max(limit, 0), limitMax));
  return found.map((row) => ({ ...row }));
}
