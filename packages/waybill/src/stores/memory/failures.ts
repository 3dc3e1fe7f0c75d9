import type { FailureRow, FailuresPort } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { copyOf, type Disk } from './disk.ts';

/** What was given up, with its bytes. */
export function createFailures({ writing }: Access): FailuresPort {
  return {
    add: (tx, rows) => writing(tx, (disk) => addFailures(disk, rows)),
    take: (tx, rows) =>
      writing(tx, ({ failures }) =>
        [...new Set(rows)].flatMap((row) => {
          const found = failures.get(row);
          if (found === undefined) return [];
          failures.delete(row);
          return [copyOf(found)];
        }),
      ),
  };
}

export function addFailures(disk: Disk, rows: readonly FailureRow[]): void {
  for (const failure of rows) {
    const row = disk.number();
    disk.failures.set(row, { ...copyOf(failure), row });
  }
}
