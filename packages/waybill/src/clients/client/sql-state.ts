/**
 * What an error of the database says, out of each library's wrapping: `cause` (Drizzle, MikroORM), `driverError` (TypeORM),
 * `parent` and `original` (Sequelize), `meta` (Prisma), `errors` (AggregateError of a connect).
 */

/** Wrappings looked into at most: errors may refer to each other in a circle. */
const wrappingsMax = 24;

/** Each of PostgreSQL's has a digit, which tells it from Node's own `EPIPE` and `EBUSY`. */
const sqlState = /^(?=.*\d)[0-9A-Z]{5}$/;

/** The SQLSTATE (five characters) that the server answered, or undefined when no server did. */
export function sqlStateOf(error: unknown): string | undefined {
  for (const at of layersOf(error)) {
    const { code, originalCode } = at as { code?: unknown; originalCode?: unknown };
    if (isState(originalCode)) return originalCode; // Prisma's driver adapter
    if (isState(code) && !prismaCode.test(code) && !('syscall' in at)) return code; // with `syscall`: Node's, `E2BIG`
    // Prisma P2034, "write conflict or deadlock", hides which of the two it was.
    if (code === 'P2034') return '40001';
  }
  return undefined;
}

/**
 * Whether no answer came because the connection broke, could not be made, or the server is going down. To be asked of
 * errors of our own statements only: a handler's `ECONNREFUSED` may be that of a web service.
 */
export function isConnectionLost(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return state.startsWith('08') || goingDown.has(state);
  for (const at of layersOf(error)) {
    const { code, name, message } = at as { code?: unknown; name?: unknown; message?: unknown };
    if (typeof code === 'string' && brokenCodes.has(code)) return true;
    if (typeof name === 'string' && brokenNames.has(name)) return true;
    if (typeof message === 'string' && brokenMessages.test(message)) return true;
  }
  return false;
}

/** admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout, idle_in_transaction_session_timeout. */
const goingDown: ReadonlySet<string> = new Set(['57P01', '57P02', '57P03', '57P05', '25P03']);

const brokenCodes: ReadonlySet<string> = new Set([
  'ECONNRESET', 'ECONNREFUSED', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT',
  'CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT', // postgres.js
  'P1001', 'P1002', 'P1008', 'P1017', // Prisma: cannot reach, timed out, operation timed out, server has closed the connection
]);

const brokenNames: ReadonlySet<string> = new Set([
  'SequelizeConnectionError', 'SequelizeConnectionRefusedError', 'SequelizeConnectionTimedOutError',
  'SequelizeConnectionAcquireTimeoutError', 'SequelizeHostNotFoundError', 'SequelizeHostNotReachableError',
  'KnexTimeoutError',
]);

/** pg has no codes for these; the texts stand in pg/lib/client.js and pg-pool/index.js. Knex puts its statement in front. */
const brokenMessages =
  /(?:^| - )(?:Connection terminated|Client has encountered a connection error|Client was closed and is not queryable|timeout exceeded when trying to connect|timeout expired|Query read timeout|Server has closed the connection)/;

function isState(value: unknown): value is string {
  return typeof value === 'string' && sqlState.test(value);
}

/** Prisma's own codes (`P2010`) look like an SQLSTATE; PostgreSQL has class P0 alone. */
const prismaCode = /^P[1-9]\d{3}$/;

function* layersOf(error: unknown): Generator<object> {
  const seen = new Set<unknown>();
  const next: unknown[] = [error];
  while (next.length > 0 && seen.size < wrappingsMax) {
    const at = next.shift();
    if (typeof at !== 'object' || at === null || seen.has(at)) continue;
    seen.add(at);
    yield at;
    const { cause, driverError, parent, original, meta, driverAdapterError, errors } = at as Record<string, unknown>;
    next.push(cause, driverError, parent, original, meta, driverAdapterError, ...(Array.isArray(errors) ? errors : []));
  }
}
