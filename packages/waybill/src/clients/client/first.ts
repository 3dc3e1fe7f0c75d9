/**
 * BEGIN that travels with the transaction's first statement, which saves its round trip. In goes that statement as the user
 * gives it to `pg`; out it goes behind BEGIN in one batch of the extended protocol, of which the server runs nothing after
 * its first error. What cannot stand in such a batch (no parameters, a cursor, a callback, a name that is yet to be
 * prepared) goes after a BEGIN by itself. Where BEGIN is refused the connection ends before anything else is said on it, for
 * it would commit by itself. A crash leaves nothing that would not have been rolled back.
 *
 * What the server answers to BEGIN is kept from the user's statement, by `pg`'s own class of statements:
 * https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
 */

export const begin = 'begin isolation level read committed';

/** What is used of `pg`'s connection and statements. */
interface Connection {
  readonly stream: { destroy(): void };
  readonly parsedStatements: Readonly<Record<string, string | undefined>>;
  parse(message: { text: string }): void;
  bind(message: object): void;
  execute(message: object): void;
}

interface Statement {
  callback: (error: Error | null | undefined, result: unknown) => void;
  query_timeout?: number;
  prepare(connection: Connection): void;
  handleCommandComplete(message: unknown, connection: Connection): void;
  handleError(error: Error, connection: Connection): void;
}

export interface Speaker {
  readonly connection?: Connection;
}

interface Config {
  readonly text: string;
  readonly values: readonly unknown[];
  readonly name?: string;
  readonly rows?: number;
  readonly query_timeout?: number;
}

type Say = (...given: unknown[]) => unknown;
type StatementClass = new (config: object) => Statement;

/** BEGIN and what is `given` to `client.query`, by `say`. @param answered when the server has answered to BEGIN, or never will */
export function sayFirst(client: Speaker, say: Say, given: readonly unknown[], answered: () => void): unknown {
  const { Query } = client.constructor as { readonly Query?: StatementClass };
  const config = configOf(given);
  if (Query !== undefined && config !== undefined && isJoinable(config, client.connection)) return sayJoined(Query, say, config, answered);
  sayBegin(client, say, answered);
  return say(...given);
}

export function sayBegin(client: Speaker, say: Say, answered: () => void): void {
  say(begin, (error: Error | null | undefined) => {
    if (isRefused(error)) client.connection?.stream.destroy();
    answered();
  });
}

/** Undefined where there is a callback, or the statement brings its own way of being said. */
function configOf([first, values, ...rest]: readonly unknown[]): Config | undefined {
  if (rest.length > 0 || typeof values === 'function') return undefined;
  if (typeof first === 'string') return { text: first, values: values as Config['values'] };
  const { submit, callback } = (first ?? {}) as { submit?: unknown; callback?: unknown };
  if (typeof first !== 'object' || first === null || submit !== undefined || callback !== undefined) return undefined;
  const config = first as Config;
  return { ...config, text: config.text, values: (values as Config['values']) ?? config.values }; // the text may be a getter of its class
}

/** With values, of whose rows not only some are asked for, and that needs no name of its own first. */
function isJoinable({ text, values, name, rows }: Config, connection: Connection | undefined): boolean {
  if (connection === undefined || typeof text !== 'string' || !Array.isArray(values) || values.length === 0) return false;
  return rows === undefined && (name === undefined || connection.parsedStatements[name] === text);
}

function sayJoined(Query: StatementClass, say: Say, config: Config, answered: () => void): Promise<unknown> {
  const statement = new Query(config);
  if (config.query_timeout !== undefined) statement.query_timeout = config.query_timeout;
  let begun = false;
  const { prepare, handleCommandComplete, handleError } = statement;
  statement.prepare = (connection) => {
    connection.parse({ text: begin });
    connection.bind({});
    connection.execute({});
    prepare.call(statement, connection);
  };
  statement.handleCommandComplete = (message, connection) => {
    if (begun) handleCommandComplete.call(statement, message, connection);
    begun = true;
  };
  statement.handleError = (error, connection) => {
    if (!begun && isRefused(error)) connection.stream.destroy();
    handleError.call(statement, error, connection);
  };
  const said = new Promise((resolve, reject) => {
    statement.callback = (error, result) => {
      answered();
      if (error) reject(error);
      else resolve(result);
    };
    say(statement);
  });
  return said.catch((error: Error) => {
    Error.captureStackTrace(error); // as `pg` does: that of whoever asked, not of the socket
    throw error;
  });
}

/** The server's own word; what goes wrong on this side (values that cannot be sent, a timeout) says nothing of BEGIN. */
function isRefused(error: unknown): boolean {
  return typeof (error as { severity?: unknown } | null | undefined)?.severity === 'string';
}
