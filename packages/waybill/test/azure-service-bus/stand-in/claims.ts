/** Which connection has shown a token for what, and until when: then its links there are detached, unless it has shown another. */
import type { Connection } from 'rhea';

/** @returns until when the token is good, in wall time; undefined when it is not */
export type TokenCheck = (shown: { readonly type: string; readonly token: string; readonly path: string }) => number | undefined;

export class Claims {
  readonly #check: TokenCheck;
  readonly #expired: (connection: Connection, path: string) => void;
  readonly #until = new WeakMap<Connection, Map<string, number>>();

  constructor(check: TokenCheck, expired: (connection: Connection, path: string) => void) {
    this.#check = check;
    this.#expired = expired;
  }

  has(connection: Connection, path: string): boolean {
    return (this.#until.get(connection)?.get(path) ?? -Infinity) > Date.now();
  }

  put(connection: Connection, path: string, shown: { readonly type: string; readonly token: string }): boolean {
    const untilMs = this.#check({ ...shown, path });
    if (untilMs === undefined) return false;
    const claims = this.#until.get(connection) ?? new Map<string, number>();
    this.#until.set(connection, claims.set(path, untilMs));
    setTimeout(() => {
      if (!this.has(connection, path)) this.#expired(connection, path);
    }, Math.max(0, untilMs - Date.now()) + 1).unref();
    return true;
  }
}
