import { randomUUID } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';

/** How the gateway behaves, for whoever wants to see what the shop makes of it. */
export const MODES = ['normal', 'declines', 'fails', 'charges-and-fails'] as const;
export type Mode = (typeof MODES)[number];

export interface Card {
  readonly token: string;
  readonly last4: string;
}

export interface Charge {
  readonly chargeId: string;
  readonly orderId: string;
  readonly amountCents: number;
}

/** Tokens for programs, as gateways offer them for trying things out. */
const TRIAL_CARDS: readonly { token: string; last4: string; isGood: boolean }[] = [
  { token: 'tok_visa', last4: '4242', isGood: true },
  { token: 'tok_declined', last4: '0002', isGood: false },
];

export interface Books {
  mode: Mode;
  /** Keeps a token for the card and forgets its number. */
  addCard(number: string): Card;
  /** Charges again whenever it is asked, unless it has seen the key. @returns undefined when the card is declined */
  charge(charge: Omit<Charge, 'chargeId'> & { token: string }, key: string | undefined): Charge | undefined | 'unknown-card';
  refund(refund: Charge, key: string | undefined): Charge;
  ofOrder(orderId: string): { charges: Charge[]; refunds: Charge[] };
  totals(): { chargedCents: number; refundedCents: number };
  close(): void;
}

export function openBooks(file: string): Books {
  const db = new DatabaseSync(file);
  db.exec(`pragma journal_mode = wal; pragma synchronous = full;
    create table if not exists card (token text primary key, last4 text not null, good integer not null);
    create table if not exists entry (entry_id text primary key, kind text not null, order_id text not null, charge_id text, amount_cents integer not null);
    create index if not exists entry_by_order on entry (order_id);
    create table if not exists seen (key text primary key, answer text not null);
    create table if not exists behaviour (one integer primary key check (one = 1), mode text not null);
    insert into behaviour values (1, 'normal') on conflict do nothing;`);
  const insertCard = db.prepare('insert into card values (?, ?, ?) on conflict do nothing');
  for (const { token, last4, isGood } of TRIAL_CARDS) insertCard.run(token, last4, Number(isGood));
  const insertEntry = db.prepare('insert into entry values (?, ?, ?, ?, ?)');
  const entries = db.prepare(
    'select entry_id as chargeId, order_id as orderId, amount_cents as amountCents from entry where order_id = ? and kind = ? order by rowid',
  );
  const sum = db.prepare('select coalesce(sum(amount_cents), 0) as total from entry where kind = ?');

  /** What a key has been answered once, it is answered for ever. */
  const underKey = <T>(key: string | undefined, work: () => T): T => {
    if (key === undefined) return work();
    db.exec('begin immediate');
    try {
      const row = db.prepare('select answer from seen where key = ?').get(key) as { answer: string } | undefined;
      const answer = row ? (JSON.parse(row.answer) as { value?: T }).value! : work();
      if (!row) db.prepare('insert into seen values (?, ?)').run(key, JSON.stringify({ value: answer }));
      db.exec('commit');
      return answer;
    } catch (error) {
      db.exec('rollback');
      throw error;
    }
  };

  return {
    get mode() {
      return (db.prepare('select mode from behaviour').get() as { mode: Mode }).mode;
    },
    set mode(mode) {
      db.prepare('update behaviour set mode = ?').run(mode);
    },

    addCard(number) {
      const card = { token: `tok_${randomUUID()}`, last4: number.slice(-4) };
      insertCard.run(card.token, card.last4, Number(!number.endsWith('0002')));
      return card;
    },

    charge({ orderId, amountCents, token }, key) {
      const card = db.prepare('select good from card where token = ?').get(token) as { good: number } | undefined;
      if (!card) return 'unknown-card';
      return underKey(key, () => {
        if (!card.good || this.mode === 'declines') return undefined;
        const chargeId = `ch_${randomUUID()}`;
        insertEntry.run(chargeId, 'charge', orderId, null, amountCents);
        return { chargeId, orderId, amountCents };
      });
    },

    refund({ chargeId, orderId, amountCents }, key) {
      return underKey(key, () => {
        insertEntry.run(`re_${randomUUID()}`, 'refund', orderId, chargeId, amountCents);
        return { chargeId, orderId, amountCents };
      });
    },

    ofOrder(orderId) {
      const of = (kind: string): Charge[] => entries.all(orderId, kind) as unknown as Charge[];
      return { charges: of('charge'), refunds: of('refund') };
    },

    totals() {
      const of = (kind: string): number => (sum.get(kind) as { total: number }).total;
      return { chargedCents: of('charge'), refundedCents: of('refund') };
    },

    close: () => db.close(),
  };
}
