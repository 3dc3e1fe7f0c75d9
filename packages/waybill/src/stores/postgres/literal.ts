/**
 * A text as SQL writes it: for statements that travel with others in one text, where there are no placeholders. Right under
 * either setting of `standard_conforming_strings`: a backslash is only ever written inside `E'…'`, doubled.
 * https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE
 *
 * @throws RangeError for what no text of PostgreSQL holds: a NUL would end the statement
 */
export function literal(text: string | null): string {
  if (text === null) return 'null';
  if (text.includes('\0')) throw new RangeError('a text of PostgreSQL holds no NUL');
  const quoted = text.includes("'") ? text.replaceAll("'", "''") : text;
  return quoted.includes('\\') ? ` E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`;
}
