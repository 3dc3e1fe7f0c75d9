/**
 * What operations read. In go filters and a page; out come committed rows. Nothing is written, and no read is kept open:
 * a search without an index goes through a table in windows, each one statement, with a turn of the event loop between.
 */
import type { Host } from '../../contract/store.ts';
import type { FailureFilter, FailureGroup, Inspect, OutboxEntry, Page, Standing } from '../../contract/inspect.ts';
import { failedColumns, failedRow } from './failures.ts';
import type { FailedColumns } from './failures.ts';
import { relayPosition } from './outbox.ts';
import type { SqliteDatabase, SqlValue, Statements } from './port.ts';
import { waitingColumns, waitingRow } from './waiting.ts';
import type { WaitingColumns } from './waiting.ts';

const limitDefault = 100;
const limitMax = 1_000;
/** Rows that one statement looks at: 1–3 ms. */
const window = 2_000;

/** `column = value` conditions joined by `and`, with their values. */
type Condition = readonly [sql: string, ...values: SqlValue[]];

interface Listing {
  readonly table: 'waybill_ledger' | 'waybill_waiting' | 'waybill_failures';
  readonly rowid: 'position' | 'row';
  readonly columns: string;
  readonly where: readonly (Condition | undefined)[];
  readonly page: Page;
  /** There is an index for the conditions, in the order of rows: one statement finds them all. */
  readonly indexed?: boolean;
}

export function createInspect(database: SqliteDatabase, { clock, service }: Host): Inspect {
  /** Rows in the order of their rowid: at once where an index finds them, else from window to window. */
  const list = async <Row>({ table, rowid, columns, where, page, indexed }: Listing): Promise<Row[]> => {
    const limit = Math.min(Math.max(page.limit ?? limitDefault, 0), limitMax);
    const conditions = where.filter((condition) => condition !== undefined);
    const sql = `select ${columns} from ${table} where ${rowid} > ? and ${rowid} <= ?
      ${conditions.map(([condition]) => `and ${condition}`).join(' ')} order by ${rowid} limit ?`;
    const values = conditions.flatMap(([, ...more]) => more);
    const { first, last } = await database.read((statements) => bounds(statements, table, rowid));
    const found: Row[] = [];
    for (let after = Math.max(page.after ?? 0, first - 1), to = 0; found.length < limit && after < last; after = to) {
      to = indexed === true ? last : after + window;
      found.push(...(await database.read((s) => s.all<Row>(sql, after, to, ...values, limit - found.length))));
      if (indexed !== true) await clock.turn();
    }
    return found;
  };

  return {
    async outbox(page) {
      const relayed = await database.read((s) => relayPosition(s, service));
      const sent = relayed ?? Number.MAX_SAFE_INTEGER; // without a relay the commit is the publish
      const rows = await list<LedgerColumns>({
        table: 'waybill_ledger',
        rowid: 'position',
        columns: `position, id, type, kind, recipient, key, time, ${parked} as parked`,
        where: [page.id === undefined ? undefined : ['id = ?', page.id], inState(page.state, sent)],
        page,
      });
      return rows.map((row) => outboxEntry(row, sent));
    },

    async waiting(page) {
      const rows = await list<WaitingColumns>({
        table: 'waybill_waiting',
        rowid: 'row',
        columns: waitingColumns,
        where: [
          page.subscription === undefined ? undefined : ['subscription is ?', page.subscription],
          page.id === undefined ? undefined : ['id = ?', page.id],
        ],
        page,
        indexed: page.id !== undefined,
      });
      return rows.map(waitingRow);
    },

    async failures(filter) {
      const rows = await list<FailedColumns>({
        table: 'waybill_failures',
        rowid: 'row',
        columns: failedColumns,
        where: failureConditions(filter),
        page: filter,
        indexed: filter.id !== undefined || filter.group !== undefined,
      });
      return rows.map(failedRow);
    },

    failureGroups: () => database.read(failureGroups),

    standing: (subscription, keys) =>
      database.read((statements) => keys.map(({ source, id }) => statements.get<{ standing: Standing }>(standing, subscription, source, id)!.standing)),

    counts: () =>
      database.read((statements) => {
        const relayed = relayPosition(statements, service);
        // positions have no gaps: what was rolled back is given out again
        const end = statements.get<{ end: number | null }>('select max(position) as end from waybill_ledger')?.end ?? 0;
        const ready = relayed === undefined ? 0 : Math.max(0, end - relayed);
        // scan of the smallest index of each
        const sql = 'select (select count(*) from waybill_waiting) as waiting, (select count(*) from waybill_failures) as failed';
        return { ready, ...statements.get<{ waiting: number; failed: number }>(sql)! };
      }),
  };
}

/** One search by waybill_waiting_id, by waybill_failures_id, and by the inbox's primary key: some microseconds. */
const standing = `select case
  when exists (select 1 from waybill_failures where id = ?3 and source = ?2 and subscription = ?1) then 'failed'
  when exists (select 1 from waybill_waiting where id = ?3 and source = ?2 and subscription = ?1) then 'waiting'
  when exists (select 1 from waybill_inbox where subscription = ?1 and source = ?2 and id = ?3) then 'applied'
  else 'unknown' end as standing`;

// search by rowid, its first and its last entry
function bounds(statements: Statements, table: Listing['table'], rowid: Listing['rowid']): { first: number; last: number } {
  const sql = `select (select min(${rowid}) from ${table}) as first, (select max(${rowid}) from ${table}) as last`;
  const found = statements.get<{ first: number | null; last: number | null }>(sql);
  return { first: found?.first ?? 1, last: found?.last ?? 0 };
}

interface LedgerColumns extends Omit<OutboxEntry, 'state' | 'timeMs' | 'recipient' | 'key'> {
  readonly recipient: string | null;
  readonly key: string | null;
  readonly time: number;
  readonly parked: number;
}

// search by waybill_failures_id
const parked = `exists (select 1 from waybill_failures f
  where f.id = waybill_ledger.id and f.source = waybill_ledger.source and f.subscription is null)`;

function inState(state: OutboxEntry['state'] | undefined, sent: number): Condition | undefined {
  if (state === undefined) return undefined;
  if (state === 'ready') return ['position > ?', sent];
  return [`position <= ? and ${state === 'failed' ? '' : 'not '}${parked}`, sent];
}

function outboxEntry(row: LedgerColumns, sent: number): OutboxEntry {
  const { position, id, type, kind, time } = row;
  const state = position > sent ? 'ready' : row.parked === 1 ? 'failed' : 'published';
  return { position, id, type, kind, recipient: row.recipient ?? undefined, key: row.key ?? undefined, timeMs: time, state };
}

function failureConditions(filter: FailureFilter): (Condition | undefined)[] {
  const { subscription, type, code, id, group } = filter;
  return [
    subscription === undefined ? undefined : ['subscription is ?', subscription],
    type === undefined ? undefined : ['type = ?', type],
    code === undefined ? undefined : ['error_code = ?', code],
    id === undefined ? undefined : ['id = ?', id],
    group === undefined ? undefined : ['fingerprint = ?', group],
  ];
}

function failureGroups(statements: Statements): readonly FailureGroup[] {
  // scan of waybill_failures_group alone, which holds all it asks for; then one search by row per group
  const rows = statements.all<FailureGroup & { subscription: string | null }>(
    `select g.fingerprint as "group", f.subscription, f.type, f.error_code as code, f.error_message as message,
       g.count, g.firstMs, g.lastMs
     from (select fingerprint, count(*) as count, min(first_failed) as firstMs, max(last_failed) as lastMs, max(row) as row
           from waybill_failures group by fingerprint) g
     join waybill_failures f on f.row = g.row order by g.lastMs desc, g.row desc limit ${limitMax}`,
  );
  return rows.map((row) => ({ ...row, subscription: row.subscription ?? undefined }));
}
