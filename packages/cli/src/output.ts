/** Rows on stdout, in the form that was asked for. The shapes of json, jsonl and yaml are the rows themselves. */
import { styleText } from 'node:util';

export const formats = ['table', 'json', 'jsonl', 'yaml'] as const;
export type OutputFormat = (typeof formats)[number];

export type Cell = string | number | boolean | null;
export type Row = Readonly<Record<string, Cell | readonly Cell[] | Readonly<Record<string, Cell>>>>;

/** How a column of the table shows a row. */
export interface Column {
  readonly title: string;
  readonly text: (row: Row) => string;
  /** Of a terminal, unless `NO_COLOR` is set. */
  readonly colour?: (row: Row) => 'green' | 'yellow' | 'red' | 'gray';
}

export function write(stream: NodeJS.WritableStream, rows: readonly Row[], format: OutputFormat, columns: readonly Column[]): void {
  stream.write(written(rows, format, columns, stream));
}

function written(rows: readonly Row[], format: OutputFormat, columns: readonly Column[], stream: NodeJS.WritableStream): string {
  switch (format) {
    case 'json':
      return `${JSON.stringify(rows, null, 2)}\n`;
    case 'jsonl':
      return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    case 'yaml':
      return rows.length === 0 ? '[]\n' : rows.map((row) => `- ${yamlOf(row, '  ').trimStart()}`).join('');
    case 'table':
      return tableOf(rows, columns, stream);
  }
}

function tableOf(rows: readonly Row[], columns: readonly Column[], stream: NodeJS.WritableStream): string {
  if (rows.length === 0) return '';
  const cells = rows.map((row) => columns.map(({ text }) => text(row)));
  const widths = columns.map(({ title }, at) => Math.max(title.length, ...cells.map((line) => line[at]!.length)));
  const line = (texts: readonly string[], row?: Row): string => {
    const padded = texts.map((text, at) => {
      const cell = at === columns.length - 1 ? text : text.padEnd(widths[at]!);
      const colour = row && columns[at]!.colour?.(row);
      return colour === undefined ? cell : styleText(colour, cell, { stream: stream as NodeJS.WriteStream });
    });
    return `${padded.join('  ').trimEnd()}\n`;
  };
  return line(columns.map(({ title }) => title)) + cells.map((texts, at) => line(texts, rows[at])).join('');
}

/** Every text in double quotes, which YAML reads as JSON does: nothing is taken for a number, a date or a `no`. */
function yamlOf(row: Readonly<Record<string, unknown>>, indent: string): string {
  return Object.entries(row)
    .map(([key, value]) => {
      const name = `${indent}${JSON.stringify(key)}:`;
      if (Array.isArray(value)) return `${name} ${JSON.stringify(value)}\n`;
      if (typeof value !== 'object' || value === null) return `${name} ${JSON.stringify(value)}\n`;
      if (Object.keys(value).length === 0) return `${name} {}\n`;
      return `${name}\n${yamlOf(value as Readonly<Record<string, unknown>>, `${indent}  `)}`;
    })
    .join('');
}
