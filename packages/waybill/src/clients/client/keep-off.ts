import { turn } from './attempt.ts';

/**
 * Keeps postgres.js (3.4.9 and before) off a connection that is gone. When one breaks inside `begin`, its promise rejects
 * at once, but the work goes on, and what that sends then, `rollback` and `commit` above all, ends the process with a
 * TypeError or runs in somebody else's transaction once the connection is made anew (porsager/postgres issues 1154, 1208,
 * 1216). So from then on nothing is sent: neither by us, nor, because the work never ends, by postgres.js.
 *
 * @param begin the library's own transaction
 */
export function keepOff<Tx, R>(begin: (work: (tx: Tx) => Promise<R>) => Promise<R>, work: (tx: Tx, connection: Connection) => Promise<R>): Promise<R> {
  let lost = false;
  let lose: (error: unknown) => void = () => {};
  const loss = new Promise<never>((_, reject) => (lose = reject));
  loss.catch(() => {});
  const held = async <T>(part: Promise<T>): Promise<T> => {
    try {
      return await part;
    } catch (error) {
      await turn();
      if (lost) return new Promise<never>(() => {});
      throw error;
    }
  };
  const connection: Connection = {
    isLost: () => lost,
    savepoint: (set, inner) => Promise.race([set((part) => held(inner(part))), loss]),
  };
  const transaction = begin((tx) => held(work(tx, connection)));
  transaction.catch((error: unknown) => {
    lost = true; // while the work goes on there is no other reason
    lose(error);
  });
  return transaction;
}

/** The one on which a transaction runs. */
export interface Connection {
  isLost(): boolean;
  /** Sets a savepoint of the library's, and keeps off likewise. */
  savepoint<Tx, R>(set: (work: (part: Tx) => Promise<R>) => Promise<R>, work: (part: Tx) => Promise<R>): Promise<R>;
}

/** Of a user's transaction nothing is known. */
export const unwatched: Connection = { isLost: () => false, savepoint: (set, work) => set(work) };
