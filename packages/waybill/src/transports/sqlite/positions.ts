/** How far a subscription has come in each ledger: rows of `waybill_position` in the subscriber's own file. */
import type { Statements } from '../../stores/sqlite/port.ts';
import type { Place } from './ledger.ts';

export interface StoredPlace extends Place {
  readonly source: string;
  readonly incarnation: string;
}

// By primary key (subscription, source).
const sql = {
  all: 'select source, incarnation, position, anchor from waybill_position where subscription = ?',
  put: `insert into waybill_position (subscription, source, incarnation, position, anchor) values (?, ?, ?, ?, ?)
    on conflict (subscription, source) do update
    set incarnation = excluded.incarnation, position = excluded.position, anchor = excluded.anchor`,
};

export function readPlaces(statements: Statements, subscription: string): Map<string, StoredPlace> {
  return new Map(statements.all<StoredPlace>(sql.all, subscription).map((place) => [place.source, place]));
}

export function writePlaces(statements: Statements, subscription: string, places: readonly StoredPlace[]): void {
  for (const { source, incarnation, position, anchor } of places) {
    statements.run(sql.put, subscription, source, incarnation, position, anchor);
  }
}
