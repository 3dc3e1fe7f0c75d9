import { readBytesMax } from '../../contract/store.ts';

/** The number of the row that one read ends with. Sizes are asked for alone before: a length stands in its row's header. */
export function endOf(rows: readonly (readonly [number: number, bytes: number])[]): number | undefined {
  let read = 0;
  for (const [number, bytes] of rows) if ((read += bytes) >= readBytesMax) return number;
  return rows.at(-1)?.[0];
}
