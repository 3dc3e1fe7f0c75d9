/**
 * One soak of PostgreSQL and RabbitMQ: publishers in five client libraries, two relays, three consumers, each a process;
 * processes and servers are killed, and one writing transaction stays open in each database all the time. Then nobody publishes any
 * more, everything heals, and ledger, queues and business tables are compared.
 */
import { writeFile, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import type { FaultProxy } from '../../packages/waybill/test/support/fault-proxy.ts';
import type { PostgresServer } from '../../packages/waybill/test/support/postgres-server.ts';
import type { RabbitServer } from '../../packages/waybill/test/support/rabbitmq-server.ts';
import { preparePostgres, prepareRabbit } from '../torture/ground.ts';
import { holdOpen } from '../torture/hold-open.ts';
import { createProcesses } from '../torture/processes.ts';
import { type Outcome, stillness, troublesOf, tryOut } from '../torture/trial.ts';
import type { Line } from '../torture/history.ts';
import { type Books, compare } from './books.ts';
import type { LibraryName } from './libraries/index.ts';
import { type Role, tables } from './role.ts';

export interface SoakOptions {
  /** History and books are left there. */
  readonly folder: string;
  readonly seconds: number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly libraries: readonly LibraryName[];
  readonly freezeMaxMs: number;
  readonly outageMaxMs: number;
  readonly onProgress?: (line: string) => void;
}

export interface SoakReport extends Omit<Outcome, 'left'> {
  /** In the ledger. */
  readonly messages: number;
  /** Commits whose outcome the publisher could not learn. */
  readonly unknown: number;
  /** How often the relays' lease changed hands. */
  readonly takeovers: number;
  readonly violations: readonly string[];
  /** What processes complained of, with counts; the most frequent first. */
  readonly troubles: readonly (readonly [string, number])[];
  readonly books: Books;
  readonly history: readonly Line[];
}

interface Servers {
  readonly postgres: { readonly server: PostgresServer; readonly proxy: FaultProxy };
  readonly rabbit: { readonly server: RabbitServer; readonly proxy: FaultProxy };
}
type Told = Omit<Role, 'by'>;

const relays = 2;
const consumers = 3;

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { folder, random } = options;
  await chmod(folder, 0o755); // PostgreSQL runs as a user of its own
  const closing: (() => Promise<void>)[] = [];
  const holding = new AbortController();
  const programOf = ({ kind }: Told): string => join(import.meta.dirname, `${kind}.ts`);
  const processes = createProcesses<Told>({ file: join(folder, 'history.jsonl'), random, programOf });
  try {
    const servers: Servers = { postgres: await preparePostgres(closing, { folder, isDurable: false, tables }), rabbit: await prepareRabbit(closing) };
    const held = Promise.all([...tables.keys()].map((database) => holdOpen(servers.postgres.server, database, holding.signal)));
    closing.push(async () => void (await held));
    let queued: Record<string, number> = {}; // at rest: a moment later heartbeats are in them again
    const { left, ...outcome } = await tryOut<Told>({
      ...options,
      ground: { ...servers, azure: undefined, disk: undefined },
      processes,
      roles: rolesOn(servers, options.libraries),
      first: ({ kind }) => kind === 'consumer', // a queue holds what was sent since it was made
      calm: (role) => (role.kind === 'publisher' ? undefined : { ...role, selfKill: 0, throws: 0 }),
      async leftToDo() {
        const todo = await leftToDo(servers);
        if (todo !== undefined) return todo;
        queued = await queuesOf(servers);
        const full = Object.entries(queued).filter(([, n]) => n > 0);
        return full.length === 0 ? undefined : `queued: ${full.map(([queue, n]) => `${n} in ${queue}`).join(', ')}`;
      },
    });
    const books = { ...(await readBooks(servers)), queued };
    await writeFile(join(folder, 'books.json'), JSON.stringify(books));
    const { history } = processes;
    return {
      ...outcome,
      messages: books.ledger.length,
      unknown: history.filter(({ what }) => what === 'unknown').length,
      takeovers: Number((await servers.postgres.server.query('select max(epoch) as n from waybill.position', [], 'bank')).rows[0].n),
      violations: [...(left === undefined ? [] : [stillness(left)]), ...compare(history, books)],
      troubles: troublesOf(processes),
      books,
      history,
    };
  } finally {
    holding.abort();
    await processes.killAll();
    for (const one of closing.toReversed()) await one();
  }
}

function rolesOn({ postgres, rabbit }: Servers, libraries: readonly LibraryName[]): Map<string, Told> {
  const at = (database: string): string => `postgres://waybill@127.0.0.1:${postgres.proxy.port}/${database}`;
  const usual = { transport: `amqp://guest:guest@127.0.0.1:${rabbit.proxy.port}/`, selfKill: 0.0004, throws: 0.003, pauseMs: 60 };
  return new Map<string, Told>([
    ...libraries.map((library): [string, Told] => [library, { ...usual, kind: 'publisher', library, store: at('bank') }]),
    ...numbered(relays, (n): [string, Told] => [`relay ${n}`, { ...usual, kind: 'relay', store: at('bank') }]),
    ...numbered(consumers, (n): [string, Told] => [`consumer ${n}`, { ...usual, kind: 'consumer', store: at('books') }]),
  ]);
}

function numbered<T>(count: number, make: (n: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i + 1));
}

/** Undefined: nothing is left to do. Else what it is. */
async function leftToDo({ postgres: { server } }: Servers): Promise<string | undefined> {
  const count = async (database: string, from: string): Promise<number> => Number((await server.query(`select count(*) as n from ${from}`, [], database)).rows[0].n);
  const moved = await count('bank', `waybill.ledger where type = 'bank.moved.v1'`);
  const noted = await count('bank', `waybill.ledger where type = 'books.note.v1'`);
  const { rows } = await server.query(`select subscription, count(*) as n from waybill.inbox group by subscription`, [], 'books');
  const taken = new Map(rows.map((row: { subscription: string; n: string }) => [row.subscription, Number(row.n)]));
  for (const [name, wanted] of [['books.statement', moved], ['books.tally', moved], ['books.current', moved], ['books.books.note', noted]] as const) {
    const n = taken.get(name) ?? 0;
    if (n < wanted) return `${name} has taken ${n} of ${wanted}`;
  }
  const waiting = await count('books', 'waybill.waiting');
  return waiting > 0 ? `${waiting} messages wait` : undefined;
}

async function queuesOf({ rabbit }: Servers): Promise<Record<string, number>> {
  const text = await rabbit.server.ctl('list_queues', 'name', 'messages');
  const rows = text.trim().split('\n').map((line) => line.split('\t') as [string, string]);
  return Object.fromEntries(rows.filter(([, n]) => /^\d+$/.test(n)).map(([queue, n]) => [queue, Number(n)]));
}

async function readBooks({ postgres: { server } }: Servers): Promise<Omit<Books, 'queued'>> {
  const read = async <Row>(database: string, sql: string): Promise<Row[]> => (await server.query(sql, [], database)).rows as Row[];
  const left: string[] = [];
  for (const database of tables.keys()) {
    for (const table of ['failures', 'waiting']) {
      for (const row of await read<object>(database, `select * from waybill.${table}`)) left.push(`${database} has in ${table}: ${JSON.stringify(row).slice(0, 300)}`);
    }
  }
  return {
    accounts: await read('bank', 'select id, version, balance from account'),
    ledger: await read('bank', `select id, type, convert_from(body, 'UTF8') as body from waybill.ledger order by pos`),
    statement: await read('books', 'select id, account, version, amount from statement order by at'),
    booked: await read('books', 'select account, version, balance from booked'),
    tally: await read('books', 'select account, n, amount from tally'),
    current: await read('books', 'select account, version from current'),
    notes: await read('books', 'select id, account, version from note'),
    left,
  };
}
