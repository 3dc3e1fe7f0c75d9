/**
 * What the databases and the broker hold when all is at rest, and what is wrong with it. It knows nothing of how Waybill
 * works but its ledger: rows are counted and summed, on both sides.
 */
import type { Line } from '../torture/history.ts';

export interface Books {
  /** Of the bank: its own table, and its ledger in position order. */
  readonly accounts: readonly { readonly id: string; readonly version: number; readonly balance: number }[];
  readonly ledger: readonly { readonly id: string; readonly type: string; readonly body: string }[];
  /** Of the books, in the order of their inserts. */
  readonly statement: readonly { readonly id: string; readonly account: string; readonly version: number; readonly amount: number }[];
  readonly booked: readonly { readonly account: string; readonly version: number; readonly balance: number }[];
  readonly tally: readonly { readonly account: string; readonly n: number; readonly amount: number }[];
  readonly current: readonly { readonly account: string; readonly version: number }[];
  readonly notes: readonly { readonly id: string; readonly account: string; readonly version: number }[];
  /** Failures and waiting messages of both services. */
  readonly left: readonly string[];
  /** Messages in RabbitMQ's queues, the dead-letter queues included. */
  readonly queued: Readonly<Record<string, number>>;
}

interface Moved {
  readonly id: string;
  readonly account: string;
  readonly version: number;
  readonly amount: number;
}

/** What does not agree; a sentence each. */
export function compare(history: readonly Line[], books: Books): string[] {
  const moved = books.ledger.filter(({ type }) => type === 'bank.moved.v1').map(({ id, body }): Moved => ({ id, ...(JSON.parse(body) as Omit<Moved, 'id'>) }));
  const notes = books.ledger.filter(({ type }) => type === 'books.note.v1').map(({ id, body }) => ({ id, ...(JSON.parse(body) as { account: string; version: number }) }));
  return [
    ...publishersAndLedger(history, books),
    ...accountsAndLedger(books, moved),
    ...sameRows('the statement', moved, books.statement),
    ...sameRows('the notes', notes, books.notes),
    ...ordered('the ledger', moved),
    ...ordered('the statement', books.statement),
    ...accountsAndBooks(books, moved),
    ...books.left,
    ...Object.entries(books.queued).flatMap(([queue, count]) => (count > 0 ? [`${count} messages are left in the queue ${queue}`] : [])),
  ];
}

/** What a publisher was told of its transaction is true. */
function publishersAndLedger(history: readonly Line[], { ledger }: Books): string[] {
  const found: string[] = [];
  const there = new Set(ledger.map(({ id }) => id));
  const tried = new Set<string>();
  for (const { what, id, ids = [], text, by } of history) {
    if (what === 'tried') tried.add(id!);
    if (what === 'committed') for (const one of ids) if (!there.has(one)) found.push(`${by} was told that ${one} is committed, and it is not in the ledger`);
    if (what === 'undone') for (const one of ids) if (there.has(one)) found.push(`${by} was told that ${one} is undone (${text}), and it is in the ledger`);
  }
  for (const id of there) if (!tried.has(id)) found.push(`nobody published ${id}, which is in the ledger`);
  if (there.size < ledger.length) found.push(`${ledger.length - there.size} messages are in the ledger twice`);
  return found;
}

/** The write and its event are there together, or neither is. */
function accountsAndLedger({ accounts }: Books, moved: readonly Moved[]): string[] {
  return accounts.flatMap(({ id, version, balance }) => {
    const mine = moved.filter(({ account }) => account === id);
    if (mine.length !== version || new Set(mine.map((one) => one.version)).size !== version) return [`${id} was moved ${version} times, and ${mine.length} events say so`];
    const sum = mine.reduce((total, { amount }) => total + amount, 0);
    return sum === balance ? [] : [`${id} has ${balance}, and its events make ${sum}`];
  });
}

function sameRows(what: string, sent: readonly { readonly id: string }[], taken: readonly { readonly id: string }[]): string[] {
  const found: string[] = [];
  const left = new Map(sent.map((one) => [one.id, one]));
  for (const row of taken) {
    const one = left.get(row.id);
    left.delete(row.id);
    if (one === undefined) found.push(`${what}: ${row.id} is there twice, or was never sent`);
    else if (textOf(one) !== textOf(row)) found.push(`${what}: ${row.id} is ${textOf(row)}, and was sent as ${textOf(one)}`);
  }
  for (const id of left.keys()) found.push(`${what}: ${id} is lost`);
  return found;
}

function textOf(row: object): string {
  return JSON.stringify(Object.entries(row).filter(([name]) => name !== 'id').sort(([one], [two]) => one.localeCompare(two)));
}

function ordered(where: string, rows: readonly { readonly account: string; readonly version: number; readonly id: string }[]): string[] {
  const newest = new Map<string, number>();
  return rows.flatMap(({ account, version, id }) => {
    const before = newest.get(account) ?? 0;
    newest.set(account, version);
    return version === before + 1 ? [] : [`${where}: ${account} ${version} (${id}) stands behind ${before}`];
  });
}

function accountsAndBooks({ accounts, booked, tally, current }: Books, moved: readonly Moved[]): string[] {
  const found: string[] = [];
  for (const { id, version, balance } of accounts.filter((one) => one.version > 0)) {
    const expect = (what: string, is: unknown, should: unknown): void => {
      if (JSON.stringify(is) !== JSON.stringify(should)) found.push(`${what} of ${id}: ${JSON.stringify(is)} instead of ${JSON.stringify(should)}`);
    };
    expect('the balance', booked.find((row) => row.account === id), { account: id, version, balance });
    expect('the tally', tally.find((row) => row.account === id), { account: id, n: moved.filter(({ account }) => account === id).length, amount: balance });
    expect('the newest version', current.find((row) => row.account === id), { account: id, version });
  }
  return found;
}
