/**
 * What a user's SQL text holds, as far as Waybill must know: which `$n` placeholders, and whether a statement would end
 * the transaction it runs in. SQLite's own parser says where a statement ends (`sourceSQL`); this reads tokens only.
 */
import { WaybillError } from '../../contract/errors.ts';

const blank = /[\s;]+|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y;
/**
 * String, quoted name (three ways), comment (two), placeholder, or word: whatever may hide or be one of those. A `$`
 * name may go on with `::x` (SQLite takes Tcl's names), so a PostgreSQL cast reads as part of it.
 */
const tokens =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|[$@:#?][\w$:]*|[\p{L}_][\p{L}\p{N}_$]*|\(/gu;

/** Statements that end, nest or leave the transaction. */
const refused: ReadonlySet<string> = new Set([
  'begin',
  'commit',
  'end',
  'rollback',
  'savepoint',
  'release',
  'attach',
  'detach',
  'vacuum',
]);

/** Pragmas that only read. */
const readingPragmas: ReadonlySet<string> = new Set([
  'table_info',
  'table_xinfo',
  'table_list',
  'index_list',
  'index_info',
  'index_xinfo',
  'foreign_key_list',
  'foreign_key_check',
  'database_list',
  'collation_list',
  'function_list',
  'compile_options',
  'integrity_check',
  'quick_check',
  // with a value they write, in the transaction and nothing else; the first two are the user's own
  'user_version',
  'application_id',
  'defer_foreign_keys',
]);
/** Without a value they tell a setting. */
const tellingPragmas: ReadonlySet<string> = new Set([
  'data_version',
  'encoding',
  'foreign_keys',
  'freelist_count',
  'journal_mode',
  'page_count',
  'page_size',
  'schema_version',
  'synchronous',
]);

/** Where the first statement of `sql` begins, past white space, comments and empty statements. */
export function startOf(sql: string): number {
  let at = 0;
  for (blank.lastIndex = 0; blank.test(sql); ) at = blank.lastIndex;
  return at;
}

/**
 * What kind of statement the first one of `sql` is, in lower case. To be asked before SQLite compiles it: many pragmas
 * take effect then.
 * @throws WaybillError `INVALID_SQL` when it would leave the transaction
 */
export function verbOf(sql: string): string {
  const statement = sql.slice(startOf(sql));
  const verb = /^\w*/.exec(statement)![0].toLowerCase();
  if (refused.has(verb)) throw refusal(statement, `"${verb}" would leave the transaction, which is Waybill's to end`);
  if (verb === 'pragma') checkPragma(statement);
  return verb;
}

function checkPragma(statement: string): void {
  const code = statement.replace(/--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g, ' ');
  const [, name = '', value] = /^pragma\s+(?:\w+\s*\.\s*)?(\w+)\s*([=(])?/i.exec(code) ?? [];
  const lower = name.toLowerCase();
  if (readingPragmas.has(lower) || (value === undefined && tellingPragmas.has(lower))) return;
  throw refusal(statement, `this pragma changes more than the transaction; Waybill sets it, or leaves it as it is`);
}

/**
 * How many values one whole statement takes: its placeholders are `$1` to that.
 * @throws WaybillError `INVALID_SQL` when it has others, or a clause that may end the transaction
 */
export function parametersOf(statement: string): number {
  const words = codeOf(statement);
  words.forEach((word, at) => {
    const before = words[at - 1];
    const undoes = before === 'or' || before === 'conflict' || (before === '(' && words[at - 2] === 'raise');
    if (word === 'rollback' && undoes) throw refusal(statement, 'its "rollback" would undo the whole transaction; use "abort"');
  });
  const numbers = new Set<number>();
  for (const word of words) {
    if (!/^[$@:#?]/.test(word)) continue;
    const number = /^\$([1-9]\d{0,4})$/.exec(word)?.[1];
    if (number === undefined) throw refusal(statement, `"${word}" is no placeholder; they are $1, $2 and so on, and casts are written cast(… as …)`);
    numbers.add(Number(number));
  }
  const highest = Math.max(0, ...numbers);
  if (highest !== numbers.size) throw refusal(statement, `it has ${numbers.size} placeholders, of which the highest is $${highest}`);
  return highest;
}

/** A whole statement that `parametersOf` took, with `?1` for `$1`: then SQLite's numbers are the user's. */
export function numbered(statement: string): string {
  return statement.replace(tokens, (token) => (token.startsWith('$') ? `?${token.slice(1)}` : token));
}

/** Words and placeholders in lower case, and brackets; strings, quoted names and comments left out. */
function codeOf(statement: string): readonly string[] {
  const found = statement.match(tokens) ?? [];
  return found.filter((token) => !/^(?:['"`[]|--|\/\*)/.test(token)).map((token) => token.toLowerCase());
}

export function refusal(statement: string, why: string): WaybillError {
  return new WaybillError('INVALID_SQL', `This statement is not run in a transaction of Waybill: ${why}: ${statement.trim().slice(0, 200)}`);
}
