import type { DatabaseSync } from 'node:sqlite';
import type { Finding } from '../../contract/doctor.ts';

/** SQLite's numbers for `pragma synchronous`: FULL, and EXTRA above it. */
const full = 2;

/** What the writing connection really has, whatever was asked of it. */
export function examine(writer: DatabaseSync, file: string): Finding[] {
  if (file === ':memory:') {
    return [{ code: 'STORE_FORGETS', severity: 'warning', message: 'the store is in memory: with the process everything is gone', next: 'Name a file; `:memory:` is for tests.' }];
  }
  const findings: Finding[] = [];
  const { journal_mode: mode } = writer.prepare('pragma journal_mode').get() as { journal_mode: string };
  const { synchronous } = writer.prepare('pragma synchronous').get() as { synchronous: number };
  if (mode !== 'wal') {
    findings.push({ code: 'SQLITE_NO_WAL', severity: 'unsafe', message: `${file} has journal mode "${mode}"`, next: 'Let nobody but the bus open it, and put it on a local disk.' });
  }
  if (synchronous < full) {
    findings.push({
      code: 'SQLITE_NOT_DURABLE',
      severity: 'unsafe',
      message: `${file} is written with synchronous = ${synchronous}: a power cut loses what was committed`,
      next: 'Leave `pragma synchronous` at FULL, as the bus sets it.',
    });
  }
  return findings;
}
