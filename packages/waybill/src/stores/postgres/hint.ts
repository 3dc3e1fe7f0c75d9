/**
 * Wakes the relay when another process of the service has committed.
 *
 * In goes "something was committed", after the commit: in the business transaction a NOTIFY costs two thirds of the
 * commits. Out comes a call in the process that holds the lease, which listens on a connection of its own. Nothing is
 * guaranteed: a hint that is lost (the connection broke, a pooler stands between) costs the time until the relay looks by
 * itself, and so does a crash anywhere.
 *
 * Costs a publisher that does not hold the lease one statement per 20 ms at most, after its commit; an idle listener a
 * connection, and nothing else. The relay reads over it too (`prepared.ts`).
 */
import type { Access, Statements } from './port.ts';
import { prepared, settings } from './prepared.ts';
import { publicationName } from './wal/slot.ts';

const hintMs = 20;
const retryFirstMs = 1_000;
const retryMaxMs = 60_000;

/** Like the publication, a channel is the database's own. */
const channelOf = publicationName;

export function createHinting({ sql, clock, schemaName }: Access): () => void {
  let busy = false;
  let again = false;
  const hint = (): void => {
    again = busy;
    if (busy) return;
    busy = true;
    // a commit that nobody has to wait for
    void sql.query(`select set_config('synchronous_commit', 'off', true) as now, pg_notify($1::text, '')::text as sent`, [channelOf(schemaName)]).then(rest, rest);
  };
  const rest = (): void =>
    void clock.after(hintMs, () => {
      busy = false;
      if (again) hint();
    });
  return hint;
}

export interface Listening {
  /** Over its connection, while there is one and no pooler stands between. */
  statements(): Statements | undefined;
  end(): void;
}

export function listen({ direct, clock, schemaName, closers }: Access, wake: () => void): Listening {
  let ended = false;
  let close = (): void => {};
  let statements: Statements | undefined;
  let fit = true;
  const begin = async (): Promise<void> => {
    const client = await direct!();
    const lost = Promise.withResolvers<void>();
    close = () => void client.end().catch(() => {});
    if (ended) return close();
    client.unref();
    client.on('error', () => lost.resolve());
    client.on('end', () => lost.resolve());
    client.on('notification', wake);
    // A pooler gives an id of its own; behind it nobody would hear, and another's connection would.
    const [row] = (await client.query('select pg_backend_pid()::int as pid')).rows as { readonly pid: number }[];
    if (row!.pid !== client.processID) return close();
    await client.query(`listen "${channelOf(schemaName)}"; ${settings}`);
    const unfit = (): void => {
      fit = false;
      statements = undefined;
    };
    if (fit && !ended) statements = prepared(client, unfit);
    wake(); // what was committed before
    await lost.promise;
    statements = undefined;
    close();
    if (!ended) retry(retryFirstMs);
  };
  const retry = (ms: number): void => {
    // by the machine's own timer: it keeps no process alive that has nothing else to do
    const timer = setTimeout(() => again(Math.min(ms * 2, retryMaxMs)), ms * (0.5 + clock.random() / 2)).unref();
    close = () => clearTimeout(timer);
  };
  const again = (retryMs: number): void =>
    void begin().catch(() => {
      close();
      if (!ended) retry(retryMs);
    });
  const end = (): void => {
    ended = true;
    statements = undefined;
    closers.delete(end);
    close();
  };
  closers.add(end);
  if (direct !== undefined) again(retryFirstMs);
  return { statements: () => statements, end };
}
