/**
 * What the processes of a torture run say, as lines on their standard output: what was written to a pipe survives the
 * kill -9 of its writer. Times are of the machine's monotonic clock, the same for all processes.
 */
import { writeSync } from 'node:fs';

export interface Line {
  /** Milliseconds, monotonic. */
  readonly t: number;
  /** Process and incarnation, `shop 1#4`; `nemesis` for faults. */
  readonly by: string;
  readonly what:
    | 'tried' // published inside a transaction that is still open
    | 'committed' // `ids`: their transaction was reported as committed
    | 'undone' // `ids`: their transaction threw, or will run again
    | 'unknown' // `ids`: COMMIT_UNKNOWN
    | 'taking back' // a delayed message, which may be gone from now on
    | 'taken back' // it was still there, said the bus, and is not any more
    | 'not taken back' // it had left, or the transaction that took it back was undone
    | 'deleted' // at the broker: what the subscription `sub` is received from, or of all
    | 'restored' // the services `services`, as they were at some time after `sinceMs`; the orders `ids` had ended before
    | 'lost' // the bus says so: `n` messages
    | 'missing' // of the subscription `sub`: `ids` had left no trace when all was at rest
    | 'audited' // `n` messages are lost, says an audit of the subscription `sub`; without one: that is all
    | 'republished'
    | 'run' // a handler begins
    | 'applied'
    | 'duplicate'
    | 'retrying'
    | 'failed'
    | 'working' // the process has started
    | 'stopping'
    | 'stopped'
    | 'ended'
    | 'fault' // `text` says which
    | 'healed'
    | 'left' // to do, when nothing goes wrong any more
    | 'trouble';
  readonly id?: string;
  readonly ids?: readonly string[];
  readonly sub?: string;
  readonly key?: string;
  readonly n?: number;
  readonly attempt?: number;
  /** Of a delayed message: before this it must not be applied, by the same clock as `t`. */
  readonly dueMs?: number;
  readonly sinceMs?: number;
  /** Of what was restored: whoever reads it reads on from where it stands now, so nothing is missing. */
  readonly rereads?: boolean;
  readonly services?: readonly string[];
  readonly text?: string;
}

export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}

/** In a process under torture. Blocks rather than buffers. */
export function createRecorder(by: string): (line: Omit<Line, 't' | 'by'>) => void {
  return (line) => {
    const bytes = Buffer.from(`${JSON.stringify({ t: monotonicMs(), by, ...line })}\n`);
    for (let written = 0; written < bytes.length; ) {
      try {
        written += writeSync(1, bytes, written);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
    }
  };
}

/** Lines of a pipe; the last one may be cut off where its writer died. */
export function parseLines(text: string): Line[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return [];
    try {
      return [JSON.parse(line) as Line];
    } catch {
      return [];
    }
  });
}
