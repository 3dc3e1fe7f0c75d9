/** What every library's statements have in common: values in, rows out, whatever it does to types and names. */
import type { Sql, SqlValue } from './port.ts';

/** One library's way to run a statement. */
export interface Run {
  rows(text: string, values: readonly (string | null)[]): Promise<readonly object[]>;
  count(text: string, values: readonly (string | null)[]): Promise<number>;
}

/** @param renamed the library may have changed the names of columns for its user (`Position`, `POSITION`) */
export function sqlOf(run: Run, renamed = false): Sql {
  return {
    query: async <Row>(text: string, values: readonly SqlValue[] = []) =>
      (await run.rows(text, values.map(asText))).map((row) => texts(row, renamed)) as Row[],
    execute: (text, values = []) => run.count(text, values.map(asText)),
  };
}

function asText(value: SqlValue): string | null {
  return value === null ? null : String(value);
}

function texts(row: object, renamed: boolean): object {
  if (!renamed && isText(row as Record<string, unknown>)) return row; // as of libraries that leave text alone, and most rows
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [renamed ? oneWord(name) : name, text(name, value)]));
}

function isText(row: Record<string, unknown>): boolean {
  for (const name in row) {
    const value = row[name];
    if (typeof value !== 'string' && value !== null) return false;
  }
  return true;
}

function oneWord(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** @throws TypeError for a column that the statement forgot to cast, and that each library would read in its own way */
function text(name: string, value: unknown): string | null {
  switch (typeof value) {
    case 'string':
      return value;
    case 'bigint':
    case 'number':
    case 'boolean':
      return String(value);
    default:
      if (value === null) return null;
      throw new TypeError(`column "${name}" is no text: cast it in the statement`);
  }
}
