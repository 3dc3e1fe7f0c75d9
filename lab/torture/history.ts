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
    | 'trouble';
  readonly id?: string;
  readonly ids?: readonly string[];
  readonly sub?: string;
  readonly key?: string;
  readonly n?: number;
  readonly attempt?: number;
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
