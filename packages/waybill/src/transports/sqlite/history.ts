/** What publishers have sent, read from their files: nobody has to be asked. Short statements; no read stays open. */
import type { Clock } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { History, HistoryPage, HistoryQuery } from '../../contract/history.ts';
import type { MessageKind, WireMessage } from '../../contract/message.ts';
import type { Directory } from './directory.ts';
import { headersOf } from './headers.ts';
import { windowPositions, type Ledger } from './ledger.ts';

/** Windows to one page: a page may be empty although there is more. */
const windowsMax = 25;

export function createHistory(directory: Directory, clock: Clock): History {
  return {
    async sources() {
      directory.scan();
      return [...directory.ledgers.keys()];
    },
    async read(source, query) {
      directory.scan();
      directory.look();
      const ledger = directory.ledgers.get(source);
      if (ledger === undefined) throw new WaybillError('UNROUTABLE', `there is no ledger of '${source}' in this directory`);
      return readLedger(ledger, query, clock);
    },
  };
}

async function readLedger(ledger: Ledger, query: HistoryQuery, clock: Clock): Promise<HistoryPage> {
  const { types, max, sinceMs = 0, untilMs = Infinity } = query;
  const messages: WireMessage[] = [];
  const end = ledger.head.position;
  const trimmedTo = ledger.trimmedTo();
  const from = Number(query.after ?? 0);
  let at = Math.max(from, trimmedTo);
  for (let windows = 0; at < end && messages.length < max && windows < windowsMax; windows++) {
    const to = Math.min(at + windowPositions, end);
    const asked = max - messages.length;
    const rows = ledger.history(at, to, types, asked);
    for (const row of rows) {
      if (row.appended < sinceMs || row.appended >= untilMs) continue;
      const { id, type, key, time } = row;
      const headers = headersOf(row);
      messages.push({ kind: row.kind as MessageKind, id, source: ledger.service, type, recipient: undefined, key: key ?? undefined, time, headers, body: row.body! });
    }
    at = rows.length < asked ? to : rows.at(-1)!.position; // a window that was cut has been read up to its last row
    await clock.turn();
  }
  return { messages, next: String(at), more: at < end, trimmed: trimmedTo > from };
}
