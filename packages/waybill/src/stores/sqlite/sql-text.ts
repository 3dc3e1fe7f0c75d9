/**
 * What a user's SQL text holds, as far as Waybill must know: which `$n` placeholders, and whether a statement would end
 * the transaction it runs in. SQLite's own parser says where a statement ends (`sourceSQL`); this reads tokens only.
 */
import { WaybillError } from '../../contract/errors.ts';

/**
 * String, quoted name (three ways), comment (two), placeholder, or word: whatever may hide or be one of those. A `$`
 * name may go on with `::x` (SQLite takes Tcl's names), so a PostgreSQL cast reads as part of it.
 */
const tokens =
  /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|[$@:#?][\w$:]*|[\p{L}_][\p{L}\p{N}_$]*|[(;]/gu;

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
]);
/** Without a value they read; with one they write in the transaction, and nothing else. The first two are the user's own. */
const transactionalPragmas: ReadonlySet<string> = new Set(['user_version', 'application_id', 'defer_foreign_keys']);

export interface SqlText {
  /** First word, lower case: what kind of statement it is. */
  readonly verb: string;
  /** How many values it takes: its placeholders are `$1` to `$parameters`. */
  readonly parameters: number;
}

/** Reads one statement. @throws WaybillError `INVALID_SQL` when it is none that a transaction of Waybill takes */
export function readSql(statement: string): SqlText {
  const words = codeOf(statement);
  const start = words.findIndex((word) => word !== ';');
  const verb = words[start] ?? '';
  if (refused.has(verb)) throw refusal(statement, `"${verb}" would leave the transaction, which is Waybill's to end`);
  if (verb === 'pragma') checkPragma(statement);
  words.forEach((word, at) => {
    const before = words[at - 1];
    const undoes = before === 'or' || before === 'conflict' || (before === '(' && words[at - 2] === 'raise');
    if (word !== 'rollback' || !undoes) return;
    throw refusal(statement, 'its "rollback" would undo the whole transaction; use "abort"');
  });
  return { verb, parameters: countParameters(statement, words) };
}

/** Words and placeholders in lower case, brackets and semicolons; strings, quoted names and comments left out. */
function codeOf(statement: string): readonly string[] {
  const found = statement.match(tokens) ?? [];
  return found.filter((token) => !/^(?:['"`[]|--|\/\*)/.test(token)).map((token) => token.toLowerCase());
}

function countParameters(statement: string, words: readonly string[]): number {
  const numbers = new Set<number>();
  for (const word of words) {
    if (!/^[$@:#?]/.test(word) || word === ':') continue;
    const number = /^\$([1-9]\d{0,4})$/.exec(word)?.[1];
    if (number === undefined) throw refusal(statement, `"${word}" is no placeholder; they are $1, $2 and so on, and casts are written cast(… as …)`);
    numbers.add(Number(number));
  }
  const highest = Math.max(0, ...numbers);
  if (highest !== numbers.size) throw refusal(statement, `it has ${numbers.size} placeholders, of which the highest is $${highest}`);
  return highest;
}

function checkPragma(statement: string): void {
  const [, name = '', value] = /^[\s;]*pragma\s+(?:\w+\s*\.\s*)?(\w+)\s*([=(])?/i.exec(withoutComments(statement)) ?? [];
  const lower = name.toLowerCase();
  if (readingPragmas.has(lower) || transactionalPragmas.has(lower)) return;
  if (value === undefined && plainPragmas.has(lower)) return;
  throw refusal(statement, `this pragma changes more than the transaction; Waybill sets ${lower} by itself or leaves it`);
}
/** Without a value they tell a setting. */
const plainPragmas: ReadonlySet<string> = new Set([
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

function withoutComments(statement: string): string {
  return statement.replace(/--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g, ' ').replace(/^\uFEFF/, '');
}

export function refusal(statement: string, why: string): WaybillError {
  return new WaybillError('INVALID_SQL', `This statement is not run in a transaction of Waybill: ${why}: ${statement.trim().slice(0, 200)}`);
}
