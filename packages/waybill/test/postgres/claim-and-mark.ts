/**
 * The outbox as most libraries build it, beside the ledger: rows with a state, claimed by position under a lease and
 * marked in sets. It is there for the tests alone: what the conformance cases say of an outbox is true of two designs that
 * share nothing, so the cases say nothing of either.
 *
 * Its state is in its rows, so it needs no snapshots and nothing after a restore; for that every message is written twice,
 * and a snapshot that somebody holds open makes each look dearer (design and figures: docs/decisions/0015).
 */
import { WaybillError } from '../../src/contract/errors.ts';
import type { OutboxEntry } from '../../src/contract/inspect.ts';
import { readBytesMax, type FailureRow, type OutboxLease, type OutboxPort, type OutboxRow, type StoreSession, type StoreTransaction } from '../../src/contract/store.ts';
import type { SqlTransaction } from '../../src/contract/transaction.ts';
import { messageColumns, messageFields, messageJson, messageOf, messageRecord, messageText, type MessageRow } from '../../src/stores/postgres/wire.ts';
import type { StoreDriver } from '../../src/testing/conformance/store/world.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { overPostgres } from './over-postgres.ts';

const tables = (s: string): string => `create schema ${s};
  create table ${s}.outbox (pos bigint primary key generated always as identity (cache 1), state text not null default 'ready',
    created_at timestamptz not null default clock_timestamp(), kind text not null, id text collate "C" not null, source text not null, type text not null,
    recipient text, key text, time bigint not null, headers text not null, body bytea not null);
  create index on ${s}.outbox (pos) where state = 'ready';
  create table ${s}.lease (one int primary key default 1, owner text not null default '', epoch bigint not null default 0, expires_at timestamptz not null default '-infinity');
  insert into ${s}.lease default values`;

type Row = MessageRow & { readonly pos: string };
type Query = <R>(text: string, values?: readonly unknown[]) => Promise<R[]>;

export function overClaimAndMark(server: () => PostgresServer): StoreDriver {
  const driver = overPostgres(server);
  let worlds = 0;
  return {
    ...driver,
    name: 'postgres, claim and mark',
    async open() {
      const world = await driver.open();
      const s = `twin_${++worlds}`;
      await server().query(tables(s));
      return {
        ...world,
        async open(as) {
          const session = await world.open(as);
          const { ports } = session;
          const inspect = { ...ports.inspect, outbox: listOf(session, s) };
          return { ...session, ports: { ...ports, outbox: outboxOf(session, s), inspect } };
        },
        async pass(ms) {
          const past = `interval '${ms} ms'`;
          await world.pass(ms);
          await server().query(`update ${s}.lease set expires_at = expires_at - ${past}; update ${s}.outbox set created_at = created_at - ${past}`);
        },
        async close() {
          await world.close();
          await server().query(`drop schema ${s} cascade`);
        },
      };
    },
  };
}

function outboxOf(session: StoreSession, s: string): OutboxPort {
  const { lockKey } = session.ports.outbox;
  const own = <R>(work: (query: Query) => Promise<R>): Promise<R> => session.transaction((tx) => work(queryOf(tx)));
  return {
    lockKey,
    async append(tx, messages) {
      if (messages.length === 0) return;
      await queryOf(tx)(`insert into ${s}.outbox (${messageColumns}) select ${messageFields} from json_to_recordset($1::text::json) as m(${messageRecord})`, [JSON.stringify(messages.map(messageJson))]);
    },
    async acquire(owner, leaseMs) {
      const [taken] = await own((query) =>
        query<{ epoch: string }>(
          `update ${s}.lease set owner = $1, epoch = epoch + 1, expires_at = clock_timestamp() + $2 * interval '1 ms'
           where expires_at < clock_timestamp() or owner = $1 returning epoch::text`,
          [owner, leaseMs],
        ),
      );
      return taken && new Claims(session, s, { epoch: taken.epoch, leaseMs });
    },
    async trim(beforeMs, max) {
      const rows = await own((query) =>
        query(
          `delete from ${s}.outbox where pos in (select pos from ${s}.outbox where state <> 'ready' and created_at < to_timestamp($1 / 1000.0) order by pos limit $2) returning pos`,
          [beforeMs, max],
        ),
      );
      return rows.length;
    },
    async history({ types, after, sinceMs, untilMs, max }) {
      const rows = await own((query) =>
        query<Row>(
          `select pos::text, ${messageText('o')} from ${s}.outbox o where pos > $1 and type = any($2) and state = 'published'
             and created_at >= to_timestamp($3 / 1000.0) and created_at < to_timestamp($4 / 1000.0) order by o.pos limit $5`,
          [after ?? 0, types, sinceMs ?? 0, untilMs ?? 9e12, max + 1],
        ),
      );
      const page = rows.slice(0, max);
      return { messages: page.map(messageOf), next: page.at(-1)?.pos ?? after, more: rows.length > max, trimmed: false };
    },
  };
}

class Claims implements OutboxLease {
  readonly #session: StoreSession;
  readonly #s: string;
  readonly #epoch: string;
  readonly #leaseMs: number;
  /** Read and not settled, in order. */
  #open: OutboxRow[] = [];

  constructor(session: StoreSession, s: string, { epoch, leaseMs }: { epoch: string; leaseMs: number }) {
    this.#session = session;
    this.#s = s;
    this.#epoch = epoch;
    this.#leaseMs = leaseMs;
  }

  async read(max: number): Promise<readonly OutboxRow[]> {
    const found = await this.#session.transaction((tx) =>
      queryOf(tx)<Row>(
        `select pos::text, ${messageText('o')} from ${this.#s}.outbox o where state = 'ready' and pos <> all($1::bigint[]) order by o.pos limit $2`,
        [this.#open.map(({ position }) => position), max],
      ),
    );
    const rows: OutboxRow[] = [];
    for (let bytes = 0; rows.length < found.length && bytes < readBytesMax; bytes += rows.at(-1)!.body.length) {
      const row = found[rows.length]!;
      rows.push({ ...messageOf(row), position: Number(row.pos) });
    }
    this.#open.push(...rows);
    return rows;
  }

  async settle(position: number, parked: readonly FailureRow[]): Promise<void> {
    const rows = this.#open.slice(0, this.#open.findIndex((row) => row.position === position) + 1);
    const failed = rows.filter((row) => parked.some(({ message }) => message.id === row.id && message.source === row.source));
    await this.#session.transaction(async (tx) => {
      await this.#hold(tx, this.#leaseMs);
      await queryOf(tx)(
        `update ${this.#s}.outbox set state = case when pos = any($2) then 'failed' else 'published' end where pos = any($1)`,
        [rows.map((row) => row.position), failed.map((row) => row.position)],
      );
      await this.#session.ports.failures.add(tx, parked);
    });
    this.#open = this.#open.slice(rows.length);
  }

  async renew(): Promise<boolean> {
    return this.#session.transaction((tx) => this.#hold(tx, this.#leaseMs)).then(() => true, (error: unknown) => {
      if (WaybillError.is(error, 'LEASE_LOST')) return false;
      throw error;
    });
  }

  async release(): Promise<void> {
    await this.#session.transaction((tx) => this.#hold(tx, 0)).catch((error: unknown) => {
      if (!WaybillError.is(error, 'LEASE_LOST')) throw error;
    });
  }

  /** The fence, in the transaction that it guards. */
  async #hold(tx: StoreTransaction, ms: number): Promise<void> {
    const held = await queryOf(tx)(
      `update ${this.#s}.lease set expires_at = case when $2::int = 0 then '-infinity' else clock_timestamp() + $2 * interval '1 ms' end where epoch = $1 returning one`,
      [this.#epoch, ms],
    );
    if (held.length === 0) throw new WaybillError('LEASE_LOST', 'another instance sends now');
  }
}

function listOf(session: StoreSession, s: string): StoreSession['ports']['inspect']['outbox'] {
  return async ({ after, id, state, limit = 100 }) => {
    const rows = await session.transaction((tx) =>
      queryOf(tx)<Omit<OutboxEntry, 'position' | 'timeMs'> & { pos: string; time: string }>(
        `select pos::text, id, type, kind, recipient, key, time::text, state from ${s}.outbox o
         where pos > $1 and ($2::text is null or id = $2) and ($3::text is null or state = $3) order by o.pos limit $4`,
        [after ?? 0, id ?? null, state ?? null, Math.min(limit, 1_000)],
      ),
    );
    return rows.map(({ pos, time, recipient, key, ...row }) => ({ ...row, position: Number(pos), timeMs: Number(time), recipient: recipient ?? undefined, key: key ?? undefined }));
  };
}

function queryOf(tx: StoreTransaction): Query {
  return async <R>(text: string, values: readonly unknown[] = []) => (await (tx.native as SqlTransaction).query(text, values)).rows as R[];
}
