/**
 * Ledger rows of one transaction that travel with its COMMIT, in one statement. In go messages in order; out comes their
 * insert, in that order. Bounded: whoever publishes more has them written on the way.
 */
import type { Held } from '../../clients/client/late.ts';
import type { WireMessage } from '../../contract/message.ts';
import { literal } from './literal.ts';
import { messageColumns, messageValues } from './wire.ts';

/** Rows and characters held at most. */
const rowsMax = 500;
const lengthMax = 1024 * 1024;

export class Batch implements Held {
  /** The id of one of its messages, which nobody else publishes. */
  readonly mark: string;
  readonly #insert: string;
  readonly #tellsPositions: boolean;
  readonly #rows: string[] = [];
  #length = 0;
  /** Of all rows, once they have been written; empty where nobody asked. */
  positions: readonly number[] = [];

  /** @param schema quoted */
  constructor(schema: string, mark: string, tellsPositions: boolean) {
    this.mark = mark;
    this.#insert = `insert into ${schema}.ledger (${messageColumns}) values `;
    this.#tellsPositions = tellsPositions;
  }

  get full(): boolean {
    return this.#rows.length >= rowsMax || this.#length >= lengthMax;
  }

  /** @returns the place of its first row in `positions` */
  add(messages: readonly WireMessage[]): number {
    const rows = messages.map(rowOf); // all, or none
    const first = this.#rows.length;
    for (const row of rows) {
      this.#rows.push(row);
      this.#length += row.length;
    }
    return first;
  }

  write(): string {
    // rows of VALUES are numbered in their order
    return this.#insert + this.#rows.join(',') + (this.#tellsPositions ? ' returning pos::text' : '');
  }

  answered(rows: readonly object[]): void {
    this.positions = rows.map((row) => Number((row as { pos: string }).pos));
  }
}

function rowOf(message: WireMessage): string {
  const values = messageValues(message);
  const body = values.pop()!;
  // base64 is plain; `time` as a number is one too, and cast by the column
  return `(${values.map(literal).join(',')},decode('${body}','base64'))`;
}
