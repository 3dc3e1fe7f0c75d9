import type { LibraryName } from './libraries/index.ts';

/** What one process of a soak is told, as JSON in argv. */
export interface Role {
  /** `Prisma#4`. */
  readonly by: string;
  readonly kind: 'publisher' | 'relay' | 'consumer';
  /** URLs. */
  readonly store: string;
  readonly transport: string;
  /** A publisher's. */
  readonly library?: LibraryName;
  /** The chance of a consumer's handler to die, and to throw. */
  readonly selfKill: number;
  readonly throws: number;
  /** Milliseconds between two transactions of a publisher, on average. */
  readonly pauseMs: number;
}

export const accounts = 25;

/** Tables beside Waybill's, by database. */
export const tables: ReadonlyMap<string, readonly string[]> = new Map([
  ['bank', ['create table account (id text primary key, version int not null default 0, balance int not null default 0)', `insert into account (id) select 'a' || n from generate_series(1, ${accounts}) n`]],
  [
    'books',
    [
      'create table statement (at bigint primary key generated always as identity, id text not null, account text not null, version int not null, amount int not null)',
      'create table booked (account text primary key, version int not null, balance int not null)',
      'create table tally (account text primary key, n int not null, amount int not null)',
      'create table current (account text primary key, version int not null)',
      'create table note (id text not null, account text not null, version int not null)',
    ],
  ],
]);
