/**
 * When a user's own transaction is over, as its `pg` connection tells: COMMIT is the user's, and nobody says that it was
 * sent. In goes what to call; it is called once, after the statement that ended the transaction, whichever way it ended. A
 * hint and no more: where the next transaction begins in the same step it comes after that one, and where the connection
 * breaks not at all.
 */

/** What is used of a connection: `drain` comes when it has answered everything that it was asked. */
export interface Ending {
  getTransactionStatus?(): 'I' | 'T' | 'E' | null;
  on?(event: 'drain', listener: () => void): unknown;
  off?(event: 'drain', listener: () => void): unknown;
}

const watched = new WeakMap<Ending, Set<() => void>>();

/** Undefined where the connection does not tell. */
export function endOf(connection: Ending | undefined): ((over: () => void) => void) | undefined {
  if (typeof connection?.getTransactionStatus !== 'function' || typeof connection.on !== 'function') return undefined;
  return (over) => {
    const calls = watched.get(connection) ?? watch(connection);
    calls.add(over);
  };
}

function watch(connection: Ending): Set<() => void> {
  const calls = new Set<() => void>();
  const look = (): void => {
    if (connection.getTransactionStatus!() !== 'I') return;
    connection.off!('drain', look);
    watched.delete(connection);
    for (const over of calls) over();
  };
  watched.set(connection, calls);
  connection.on!('drain', look);
  return calls;
}
