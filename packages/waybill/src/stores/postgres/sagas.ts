/**
 * Long conversations: one row for each instance. In goes a state with the number of its revision; it is written over the
 * revision before it or not at all. Ended rows stay as tombstones until they are trimmed.
 *
 * A step costs two statements, each one search by index, in the transaction of its message. Loading locks the row: two
 * steps of one instance come one after the other.
 */
import type { ListedSaga, SagaRow, SagasPort, SagaStatus } from '../../contract/store.ts';
import type { Access, SqlValue } from './port.ts';
import { dueColumn, dueText } from './waiting.ts';
import { wallMs } from './wire.ts';

const limitDefault = 100;
const limitMax = 1_000;
const texts = 'g.saga, g.key, g.version::text, g.revision::text, g.status, g.state, g.ledger, g.started::text, g.changed::text';

interface Columns {
  readonly row: string;
  readonly saga: string;
  readonly key: string;
  readonly version: string;
  readonly revision: string;
  readonly status: SagaStatus;
  readonly state: string;
  readonly ledger: string;
  readonly started: string;
  readonly changed: string;
}

export function createSagasPort({ schema: s, clock, sql, in: within }: Access): SagasPort {
  // search by (saga, key)
  const load = `select ${texts} from ${s}.saga g where g.saga = $1::text and g.key = $2::text for update`;
  // waits for another that begins it, and sees how that ended
  const begin = `insert into ${s}.saga as g (saga, key, version, revision, status, state, ledger, started, changed)
    values ($1::text, $2::text, $3::text::int, 1, $4::text, $5::text, $6::text, $7::text::bigint, $8::text::bigint)
    on conflict do nothing returning g.row::text`;
  // search by (saga, key)
  const write = `update ${s}.saga g set version = $3::text::int, revision = $8::text::bigint, status = $4::text, state = $5::text, ledger = $6::text,
      changed = $7::text::bigint
    where saga = $1::text and key = $2::text and revision = $8::text::bigint - 1 returning g.row::text`;
  // search by waiting_unknown
  const awaken = `update ${s}.waiting set due = least(due, ${dueText('$3::text::bigint')})
    where subscription = $1::text and key = $2::text and error_code = 'SAGA_NOT_FOUND'`;
  // search by saga_ended, ended by limit; one look per row by waiting_line and failures_hold
  const trim = `with old as (select row from ${s}.saga g where status in ('completed', 'compensated') and changed < $1::text::bigint
      and not exists (select 1 from ${s}.waiting w where w.subscription = g.saga and w.key = g.key and w.in_order)
      and not exists (select 1 from ${s}.failures f where f.subscription = g.saga and f.key = g.key and f.holds)
      order by changed limit $2::text::int for update skip locked),
    gone as (delete from ${s}.saga g using old where g.row = old.row returning 1)
    select count(*)::text as removed from gone`;

  return {
    async load(tx, saga, key) {
      const [found] = await within(tx).query<Columns>(load, [saga, key]);
      return found && sagaRow(found);
    },

    async save(tx, row) {
      const { saga, key, version, revision, status, state, ledger, startedMs, changedMs } = row;
      const values = [saga, key, version, status, state, ledger];
      const written =
        revision === 1
          ? await within(tx).query(begin, [...values, wallMs(startedMs), wallMs(changedMs)])
          : await within(tx).query(write, [...values, wallMs(changedMs), revision]);
      return written.length === 1;
    },

    awaken: async (tx, saga, key, due) => void (await within(tx).query(awaken, [saga, key, dueColumn(due, clock)])),

    async list({ saga, key, status, after = 0, limit = limitDefault }) {
      const given = Object.entries({ saga, key, status }).filter((entry): entry is [string, string] => entry[1] !== undefined);
      const values: SqlValue[] = [after, Math.min(Math.max(limit, 0), limitMax), ...given.map(([, value]) => value)];
      // by (saga, key) or saga_status where they are given, else by row; in the order of rows, ended by limit
      const rows = await sql.query<Columns>(
        `select g.row::text, ${texts} from ${s}.saga g where g.row > $1::text::bigint
         ${given.map(([name], i) => `and g.${name} = $${i + 3}::text`).join(' ')} order by g.row limit $2::text::bigint`,
        values,
      );
      return rows.map((row): ListedSaga => ({ row: Number(row.row), ...sagaRow(row) }));
    },

    async counts() {
      // scan of the table
      const rows = await sql.query<Pick<Columns, 'saga' | 'version' | 'status'> & { count: string }>(
        `select g.saga, g.version::text, g.status, count(*)::text as count from ${s}.saga g group by g.saga, g.version, g.status
         order by g.saga, g.version, g.status`,
      );
      return rows.map((row) => ({ ...row, version: Number(row.version), count: Number(row.count) }));
    },

    async trim(beforeMs, max) {
      const [row] = await sql.query<{ removed: string }>(trim, [wallMs(beforeMs), max]);
      return Number(row!.removed);
    },
  };
}

function sagaRow({ saga, key, version, revision, status, state, ledger, started, changed }: Columns): SagaRow {
  return { saga, key, version: Number(version), revision: Number(revision), status, state, ledger, startedMs: Number(started), changedMs: Number(changed) };
}
