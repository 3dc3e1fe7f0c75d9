import type { Text } from './port.ts';

/**
 * Rows as the port wants them: text or null under one-word names. `renamed` undoes what a library did to the names for
 * its user (`Position`, `POSITION`).
 * @throws TypeError for a column that the statement forgot to cast
 */
export function texts<Row>(rows: readonly object[], renamed = false): Row[] {
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [renamed ? plain(name) : name, text(name, value)])) as Row);
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

function text(name: string, value: unknown): Text {
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
