/**
 * A connection in replication mode, over the package `pg`: SQL until `start`, then the stream of a slot
 * (https://www.postgresql.org/docs/current/protocol-replication.html). `pg` speaks CopyBoth through its inner
 * `connection`, which has no types: what is used of it stands in `Inner`.
 */
import { sqlStateOf } from '../../../clients/client/sql-state.ts';
import type { DirectClient } from '../direct.ts';
import type { Lsn } from './pgoutput.ts';

/** Of `pg.Client`. */
interface Inner {
  readonly stream: { pause(): void; resume(): void; readonly writable: boolean };
  on(event: 'copyData', heard: (message: { readonly chunk: Buffer }) => void): unknown;
  once(event: 'replicationStart', heard: () => void): unknown;
  sendCopyFromChunk(chunk: Buffer): void;
}

export interface Heard {
  /** A message of the output plugin. */
  data(message: Buffer): void;
  /** Everything before `end` has been sent; `asked`: the server wants an answer at once. */
  keepalive(end: Lsn, asked: boolean): void;
  /** Nothing comes any more. */
  ended(error: Error): void;
}

/** Times are microseconds since 2000-01-01. */
const epochMs = Date.UTC(2000, 0, 1);

export class ReplicationConnection {
  readonly #client: DirectClient;
  readonly #inner: Inner;
  #closed = false;

  constructor(client: DirectClient) {
    this.#client = client;
    this.#inner = (client as unknown as { readonly connection: Inner }).connection;
  }

  /** One statement without parameters: a walsender knows no others. */
  async query<Row extends object>(text: string): Promise<readonly Row[]> {
    return (await this.#client.query(text)).rows as Row[];
  }

  /** Resolves when the stream runs. Rejects with the server's error, such as 55006 while another reads the slot. */
  start(slot: string, publication: string, heard: Heard): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const ended = (error: Error): void => {
      reject(error);
      if (this.#closed) return;
      this.#closed = true;
      heard.ended(error);
    };
    this.#inner.once('replicationStart', resolve);
    this.#inner.on('copyData', ({ chunk }) => hear(chunk, heard));
    this.#client.on('error', ended);
    this.#client.on('end', () => ended(new Error('the replication connection was closed')));
    // From where the slot was confirmed. Its words are known in upper case alone.
    this.#client.query(`START_REPLICATION SLOT ${identifier(slot)} LOGICAL 0/0 (proto_version '1', publication_names '${publication}')`).then(
      () => ended(new Error('the server ended the replication')),
      ended,
    );
    return promise;
  }

  /** What was received, and what the server may forget; `ask`: it is to say where it stands. */
  status({ received, confirmed, ask }: { readonly received: Lsn; readonly confirmed: Lsn; readonly ask: boolean }): void {
    if (this.#closed || !this.#inner.stream.writable) return;
    const message = Buffer.alloc(34);
    message.write('r', 0, 'latin1');
    message.writeBigUInt64BE(received, 1);
    message.writeBigUInt64BE(confirmed, 9);
    message.writeBigUInt64BE(confirmed, 17);
    message.writeBigInt64BE(BigInt(Date.now() - epochMs) * 1_000n, 25);
    message.writeUInt8(ask ? 1 : 0, 33);
    this.#inner.sendCopyFromChunk(message);
  }

  pause(): void {
    this.#inner.stream.pause();
  }

  resume(): void {
    this.#inner.stream.resume();
  }

  close(): void {
    this.#closed = true;
    void this.#client.end().catch(() => {});
  }
}

function hear(chunk: Buffer, heard: Heard): void {
  const kind = String.fromCharCode(chunk.readUInt8(0));
  if (kind === 'w') heard.data(chunk.subarray(25)); // its start, the server's end, the time
  else if (kind === 'k') heard.keepalive(chunk.readBigUInt64BE(1), chunk.readUInt8(17) === 1);
}

export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** The slot cannot be read from where it stands, now or ever: its log is gone, or its publication was not there then. */
export function isSpoilt(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === '55000' || state === '42704';
}
