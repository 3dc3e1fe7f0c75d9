/**
 * Replies to this instance: rows of kind `reply` in any ledger that name its address. Read from the end of each ledger
 * as of the beginning, from memory alone: whoever waits for a reply waits in this process, and is gone with it.
 */
import type { Delivery } from '../../contract/transport.ts';
import type { Directory, DirectoryListener } from './directory.ts';
import { headersOf } from './headers.ts';
import { windowPositions, windowRows, type Ledger } from './ledger.ts';

interface Mark {
  ledger: Ledger;
  position: number;
}

export interface Replies extends Pick<DirectoryListener, 'opened' | 'moved'> {
  readonly address: string;
  close(): void;
}

export function createReplies(options: {
  readonly address: string;
  readonly directory: Directory;
  readonly deliver: (delivery: Delivery) => void;
  readonly turn: () => Promise<void>;
  readonly trouble: (error: unknown) => void;
}): Replies {
  const { address, directory, turn, trouble } = options;
  const marks = new Map<string, Mark>();
  const reading = new Set<Mark>();
  let closed = false;

  for (const ledger of directory.ledgers.values()) marks.set(ledger.service, { ledger, position: ledger.head.position });

  const deliver = (delivery: Delivery): void => {
    try {
      options.deliver(delivery);
    } catch (error) {
      trouble(error);
    }
  };

  /** Window by window, a turn of the event loop between two. */
  const read = async (mark: Mark): Promise<void> => {
    if (reading.has(mark)) return;
    reading.add(mark);
    try {
      for (;;) {
        const { ledger } = mark;
        const end = Math.min(mark.position + windowPositions, ledger.head.position);
        if (closed || marks.get(ledger.service) !== mark || end <= mark.position) return;
        const rows = ledger.replies(mark.position, end, address);
        mark.position = rows.length < windowRows ? end : rows.at(-1)!.position;
        for (const row of rows) {
          deliver({ kind: 'reply', headers: headersOf(row), body: row.body ?? new Uint8Array(), redelivered: false, suspect: false });
        }
        await turn();
      }
    } catch (error) {
      directory.failed(mark.ledger, error);
    } finally {
      reading.delete(mark);
    }
  };

  return {
    address,
    opened(ledger) {
      const known = marks.get(ledger.service);
      // A ledger that was not there when we began holds nothing older for us: the address is new.
      const isSame = known?.ledger.incarnation === ledger.incarnation && ledger.head.position >= known.position;
      const mark = { ledger, position: isSame ? known.position : 0 };
      marks.set(ledger.service, mark);
      void read(mark);
    },
    moved(ledger) {
      const mark = marks.get(ledger.service);
      if (mark?.ledger !== ledger) return;
      if (ledger.head.position < mark.position) mark.position = 0; // restored: late replies hurt nobody
      void read(mark);
    },
    close() {
      closed = true;
    },
  };
}
