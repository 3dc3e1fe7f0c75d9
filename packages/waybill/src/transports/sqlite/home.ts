/**
 * This service's own file in the directory: its ledger, positions and leases. Where the bus stores in that very file, it
 * is the store's, and the commit of a ledger row is the publish. Where it stores elsewhere, the transport opens a file of
 * its own with the same tables, appends to it what it is sent, and keeps positions there.
 */
import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WaybillError } from '../../contract/errors.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { TransportHost } from '../../contract/transport.ts';
import { sqlite as store } from '../../stores/sqlite/index.ts';
import { isSqliteSession, type SqliteDatabase, type SqliteStoreSession } from '../../stores/sqlite/port.ts';
import { ledgerFile } from './names.ts';

/** How long rows stay in a ledger of the transport's own: `horizonMs` is the store's, and not told to transports. */
const keepMs = 7 * 86_400_000;
const trimEveryMs = 3_600_000;
/** 5 ms a piece: other writers get their turn in between. */
const trimRows = 500;

export interface Home {
  readonly database: SqliteDatabase;
  /** The store's file is this one: positions commit with the effects. */
  readonly isStore: boolean;
  /** Only where it is not the store: appends to the ledger, all or nothing. */
  append(messages: readonly WireMessage[]): Promise<void>;
  close(): Promise<void>;
}

/** @param directory its real path. @throws WaybillError `STORE_FOREIGN`, or what opening a file may throw */
export async function openHome(directory: string, host: TransportHost): Promise<Home> {
  if (isSqliteSession(host.store) && isAt(host.store.database.file, directory, host.service)) {
    return {
      database: host.store.database,
      isStore: true,
      append: () => Promise.reject(new WaybillError('CAPABILITY_MISSING', 'the commit of a row is its publish here: nothing is sent')),
      close: () => Promise.resolve(),
    };
  }
  return ownHome((await store(ledgerFile(directory, host.service)).open(unheard(host))) as SqliteStoreSession, host);
}

/** What was published the store has told already: appending it here is its sending. */
function unheard(host: TransportHost): TransportHost {
  const { signals } = host;
  return {
    ...host,
    signals: {
      emit: (name, detail) => signals.emit(name, detail),
      has: (name) => name !== 'published' && signals.has(name),
      on: (name, listener) => signals.on(name, listener),
    },
  };
}

/** Whether the store's file is the service's ledger in this directory. */
function isAt(file: string, directory: string, service: string): boolean {
  if (file === ':memory:') return false;
  const real = realpathSync(file);
  if (real === join(directory, `${service}.db`)) return true;
  if (dirname(real) !== directory) return false;
  throw new WaybillError(
    'STORE_FOREIGN',
    `the store ${file} lies in the transport's directory under another name than its service's: call it ${ledgerFile(directory, service)}, or put it in another directory`,
  );
}

function ownHome(session: SqliteStoreSession, { clock, signals }: TransportHost): Home {
  const { outbox } = session.ports;
  let cancel: (() => void) | undefined;
  let trimming: Promise<void> = Promise.resolve();
  let closed = false;

  const trim = async (): Promise<void> => {
    try {
      while (!closed && (await outbox.trim(clock.now() - keepMs, trimRows)) > 0) await clock.turn();
    } catch (error) {
      if (!closed) signals.emit('trouble', { where: 'trimming the ledger', error });
    }
    if (!closed) cancel = clock.after(trimEveryMs, () => void (trimming = trim()));
  };

  return {
    database: session.database,
    isStore: false,
    append: (messages) => {
      if (cancel === undefined) {
        cancel = () => {};
        trimming = trim(); // only who writes has something to trim; a process that only reads sets no timer
      }
      return session.transaction((tx) => outbox.append(tx, messages));
    },
    async close() {
      closed = true;
      cancel?.();
      await trimming;
      await session.close();
    },
  };
}
