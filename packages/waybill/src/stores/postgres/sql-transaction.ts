/**
 * The transaction as user code sees it where the bus opened the connection: one call, `query`, in the shape of
 * node-postgres, and of every other store that is given as URL. A statement costs one round trip.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import type { OpenTransaction } from './port.ts';
import type { Scope } from './transaction.ts';

/** The part of a `pg` client that this needs. */
interface PgClient {
  /** `extended`: one statement to a call, whatever the text, so that nobody ends our transaction behind a semicolon. */
  query(query: { text: string; values: unknown[]; queryMode: 'extended' }): Promise<{ rows: object[]; rowCount: number | null }>;
}

export function nativeOf(scope: Scope<SqlTransaction>): SqlTransaction {
  return {
    async query<Row>(text: string, values: readonly unknown[] = []) {
      if (typeof text !== 'string' || !Array.isArray(values)) {
        throw new WaybillError('INVALID_SQL', 'query takes a text and, where it has placeholders, an array of values.');
      }
      const verb = verbOf(text);
      if (ending.has(verb) || (verb === 'prepare' && /^\s*prepare\s+transaction/i.test(withoutComments(text)))) {
        throw new WaybillError('INVALID_SQL', `"${verb}" is the bus's to say: throw to roll back, return to commit.`);
      }
      const { rows, rowCount } = await scope.running(({ native }: OpenTransaction) =>
        (native as PgClient).query({ text, values: values as unknown[], queryMode: 'extended' }),
      );
      return { rows: rows as Row[], rowCount };
    },
  };
}

/** What begins or ends transactions. A savepoint of the user's own making would be mixed up with the bus's. */
const ending: ReadonlySet<string> = new Set(['begin', 'start', 'commit', 'end', 'rollback', 'abort', 'savepoint', 'release']);

function verbOf(text: string): string {
  return /^[\s;]*([a-z]+)/i.exec(withoutComments(text))?.[1]?.toLowerCase() ?? '';
}

/** Comments in front of the first word; PostgreSQL's nest. */
function withoutComments(text: string): string {
  let at = 0;
  for (;;) {
    at += /^[\s;]*/.exec(text.slice(at))![0].length;
    if (text.startsWith('--', at)) {
      const end = text.indexOf('\n', at);
      if (end < 0) return '';
      at = end + 1;
    } else if (text.startsWith('/*', at)) {
      let depth = 0;
      for (const { 0: mark, index } of text.slice(at).matchAll(/\/\*|\*\//g)) {
        depth += mark === '/*' ? 1 : -1;
        if (depth > 0) continue;
        at += index + 2;
        break;
      }
      if (depth > 0) return '';
    } else return text.slice(at);
  }
}
