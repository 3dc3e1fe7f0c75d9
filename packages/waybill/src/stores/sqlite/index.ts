/** The SQLite store: one file per service, with the service's own tables beside Waybill's. Needs nothing but Node. */
import { resolve } from 'node:path';
import { WaybillError } from '../../contract/errors.ts';
import type { Host, Store } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { Database } from './database.ts';
import { classify } from './errors.ts';
import { examine } from './examine.ts';
import { createFailuresPort } from './failures.ts';
import { createInboxPort } from './inbox.ts';
import { createInspect } from './inspect.ts';
import { createOncePort } from './once.ts';
import { createOutboxPort } from './outbox.ts';
import type { SqliteStoreSession } from './port.ts';
import { createSagasPort } from './sagas.ts';
import { createStreamsPort } from './streams.ts';
import { createWaitingPort } from './waiting.ts';

/**
 * A SQLite file as store. The bus alone opens it: user code writes to it through `tx`.
 * @param file path, from the working directory; missing folders are made. `:memory:` for tests
 * @throws WaybillError `INVALID_OPTION` when `file` is no path
 */
export function sqlite(file: string): Store<SqlTransaction> {
  if (typeof file !== 'string' || file.trim() === '' || file.includes('\0')) {
    throw new WaybillError('INVALID_OPTION', 'sqlite(file) takes the path of a file, or ":memory:".');
  }
  return { kind: 'sqlite', fromClient: false, open: (host) => open(file, host) };
}

async function open(file: string, host: Host): Promise<SqliteStoreSession> {
  const database = await Database.open(file === ':memory:' ? file : resolve(file), host);
  return {
    capabilities: { parallelTransactions: false, cheapSavepoints: true, batch: 250 },
    ports: {
      outbox: createOutboxPort(database, host),
      inbox: createInboxPort(database, host),
      waiting: createWaitingPort(database, host),
      failures: createFailuresPort(database),
      once: createOncePort(database, host),
      sagas: createSagasPort(database, host),
      inspect: createInspect(database, host),
      streams: createStreamsPort(database, host),
    },
    database,
    transaction: (work, options) => database.write(work, options),
    join: (native) => database.join(native),
    classify,
    examine: async () => examine(database.connection, database.file),
    close: () => database.closeInTurn(),
  };
}
