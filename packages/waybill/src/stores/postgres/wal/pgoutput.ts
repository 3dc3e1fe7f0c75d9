/**
 * PostgreSQL's logical decoding as it comes over a replication connection: what the `pgoutput` plugin says, protocol
 * version 1, of one table's inserts (https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html).
 * Transactions come whole, one after another, in the order of their commits, and those that were rolled back never.
 */

/** A position in the write-ahead log. */
export type Lsn = bigint;

export type Decoded =
  | { readonly kind: 'insert'; readonly table: string; readonly schema: string; readonly values: Readonly<Record<string, string | null>> }
  /** `end`: where the next transaction's may begin. */
  | { readonly kind: 'commit'; readonly end: Lsn };

interface Relation {
  readonly schema: string;
  readonly table: string;
  readonly columns: readonly string[];
}

/** Of one connection: a table is described before its first row. */
export class PgOutput {
  readonly #relations = new Map<number, Relation>();

  /** @returns undefined for what says nothing of rows */
  decode(message: Buffer): Decoded | undefined {
    const read = new Reader(message);
    switch (String.fromCharCode(read.byte())) {
      case 'R':
        this.#relations.set(...relation(read));
        return undefined;
      case 'I': {
        const { schema, table, columns } = this.#relations.get(read.int32())!;
        read.skip(1); // 'N'
        return { kind: 'insert', schema, table, values: tuple(read, columns) };
      }
      case 'C':
        read.skip(1 + 8); // flags, the commit's own position
        return { kind: 'commit', end: read.int64() };
      default:
        return undefined; // begin, type, origin, truncate
    }
  }
}

function relation(read: Reader): [id: number, Relation] {
  const id = read.int32();
  const schema = read.text();
  const table = read.text();
  read.skip(1); // replica identity
  const columns = Array.from({ length: read.int16() }, () => {
    read.skip(1); // flags
    const name = read.text();
    read.skip(4 + 4); // type, modifier
    return name;
  });
  return [id, { schema, table, columns }];
}

function tuple(read: Reader, columns: readonly string[]): Record<string, string | null> {
  const values: Record<string, string | null> = {};
  const count = read.int16();
  for (let at = 0; at < count; at++) {
    const kind = String.fromCharCode(read.byte());
    values[columns[at]!] = kind === 't' ? read.sized() : null; // 'n'; an insert has no 'u' (unchanged)
  }
  return values;
}

class Reader {
  readonly #from: Buffer;
  #at = 0;

  constructor(from: Buffer) {
    this.#from = from;
  }

  skip(bytes: number): void {
    this.#at += bytes;
  }

  byte(): number {
    return this.#from.readUInt8(this.#at++);
  }

  int16(): number {
    return this.#from.readInt16BE((this.#at += 2) - 2);
  }

  int32(): number {
    return this.#from.readInt32BE((this.#at += 4) - 4);
  }

  int64(): bigint {
    return this.#from.readBigUInt64BE((this.#at += 8) - 8);
  }

  /** Ended by a zero. */
  text(): string {
    const end = this.#from.indexOf(0, this.#at);
    const text = this.#from.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }

  sized(): string {
    const length = this.int32();
    return this.#from.toString('utf8', this.#at, (this.#at += length));
  }
}

/** `16/B374D848` */
export function lsnOf(text: string): Lsn {
  const [high = '0', low = '0'] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}
