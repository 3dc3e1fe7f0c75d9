import type { Role } from './role.ts';

/** The tables of a service's own, beside Waybill's; to be made one by one, more than once. */
export function tablesOf(service: Role['service'], store: 'sqlite' | 'postgres'): readonly string[] {
  const at = store === 'sqlite' ? 'at integer primary key' : 'at bigint primary key generated always as identity';
  switch (service) {
    case 'bank':
      return ['create table if not exists counter (key text primary key, n integer not null)', 'create table if not exists submitted (id text primary key)'];
    case 'shop':
      return [`create table if not exists effect (${at}, subscription text not null, id text not null, source text not null, key text not null, n integer not null)`];
    case 'works':
      return ['create table if not exists work (what text not null, id text not null, done integer not null, undone integer not null, primary key (what, id))'];
    default:
      return [];
  }
}
