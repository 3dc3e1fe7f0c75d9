/**
 * Every way in which Waybill says no, by a stable code. The codes are public: programs match on them, never on the
 * text. Each stands in `docs/errors.md` with its cause and the next step; a test compares the two lists.
 */
export type WaybillErrorCode =
  // what is said
  | 'CONTRACT_VIOLATION' // data does not fit its contract
  | 'SCHEMA_NOT_JSON' // the schema cannot read its own JSON back
  | 'INVALID_CONTRACT' // a contract's own definition is wrong
  | 'INVALID_SAGA' // a saga's definition is wrong
  | 'INVALID_HEADER' // a header's name or value cannot travel
  | 'INVALID_ID' // a message id that cannot be stored or sent
  | 'INVALID_OPTION' // an option's value is out of range, or of the wrong type
  | 'INVALID_URL' // a store's or transport's URL that no driver reads
  | 'INVALID_TOKEN' // a freshness token that was not made by a publish
  | 'MESSAGE_TOO_LARGE' // body, nesting or headers past the limits
  | 'MESSAGE_UNDECODABLE' // bytes that are no message
  // transactions
  | 'TX_MISSING' // publish without `tx` where one is due
  | 'NOT_A_TRANSACTION' // `tx` is a root client, finished, failed or of another bus
  | 'NESTED_TRANSACTION' // a transaction inside a transaction
  | 'REQUEST_IN_TRANSACTION' // the request would leave only after the reply is due
  | 'COMMIT_UNKNOWN' // connection lost during COMMIT, outcome not to be learned
  | 'NO_SQL' // the memory store keeps no tables
  | 'INVALID_SQL' // a statement that Waybill's transaction does not take
  // set-up
  | 'NOT_CONFIGURED' // production without a store or transport
  | 'DRIVER_MISSING' // the package behind a URL is not installed
  | 'CAPABILITY_MISSING' // the driver cannot do what was asked
  | 'DUPLICATE_SUBSCRIPTION' // two subscriptions of one name
  | 'DUPLICATE_HANDLER' // two handlers for one command or event of a subscription
  | 'UNSAFE' // the store or broker is set up so that a promise does not hold
  | 'NOT_STARTED' // needs `start()` first
  | 'STOPPED' // the bus was stopped
  // handling
  | 'HANDLER_FAILED' // the handler threw, or rejected
  | 'HANDLER_TIMEOUT' // the handler ran longer than `timeoutMs`
  | 'HANDLER_CRASHED' // the process died each time this message ran alone
  | 'HANDLER_MISSING' // no instance had a handler for ten minutes
  | 'REJECTED' // the handler threw `Reject`
  | 'SEQUENCE_MISSING' // order `latest` and a message without sequence
  | 'UNROUTABLE' // a command that no queue takes
  | 'ONCE_MISMATCH' // one key of `once`, two contents
  | 'REPLY_TIMEOUT' // no reply in time
  | 'REPLY_FAILED' // the other side's handler gave up
  | 'REPLAY_FAILED' // a publisher's ledger could not be read for an hour
  | 'HOP_LIMIT' // a chain of messages that cause one another does not end
  // sagas
  | 'SAGA_NOT_FOUND' // a message for an instance that never began
  | 'SAGA_ENDED' // a message for an instance that has ended, or a call after its end
  | 'SAGA_UNSERVED' // no definition here fits the instance
  // event store
  | 'STREAM_CONFLICT' // the stream has another version than was expected
  | 'EVENT_UNREADABLE' // an event of a stream that no contract here reads
  // stores
  | 'LEASE_LOST' // another instance has taken over; nothing was written
  | 'STORE_BUSY' // locked by others past the deadline
  | 'STORE_FULL' // the disk is full
  | 'STORE_UNREACHABLE' // cannot be opened, or the connection is gone
  | 'STORE_READONLY' // no right to write
  | 'STORE_CORRUPT' // not a database, or damaged
  | 'STORE_FOREIGN' // belongs to another service
  | 'STORE_NEWER' // written by a newer Waybill
  | 'STORE_NOT_MIGRATED' // `migrate: 'check'` and tables are missing
  // ledgers of others, and brokers
  | 'LEDGER_TRIMMED' // away for longer than the publisher keeps its ledger
  | 'LEDGER_REWOUND' // a publisher's ledger went back in time (restored from a backup)
  | 'LEDGER_SKIPPED' // a file of the directory that is not read, and why
  | 'TRANSPORT_UNREACHABLE' // the broker cannot be reached
  | 'TRANSPORT_DENIED' // the broker knows the user not, or lets it not do this
  | 'TRANSPORT_REFUSED' // the broker refused a message for good
  | 'TOPOLOGY_CONFLICT' // a queue or exchange is there with other arguments
  | 'TOPOLOGY_MISSING'; // `migrate: 'check'` and a queue or exchange is missing

/** The brand that survives two copies of the package in one process. */
const brand: unique symbol = Symbol.for('waybill.error') as never;

/** The one error class. `code` is stable, `message` says what happened and what to do next. */
export class WaybillError extends Error {
  override readonly name: string = 'WaybillError';
  readonly code: WaybillErrorCode;

  constructor(code: WaybillErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    Object.defineProperty(this, brand, { value: true });
  }

  /** True for an error of this library (with that `code`, when given), also over two copies of the package. */
  static is(error: unknown, code?: WaybillErrorCode): error is WaybillError {
    if (typeof error !== 'object' || error === null || !(brand in error)) return false;
    return code === undefined || (error as { code?: unknown }).code === code;
  }
}

/** Thrown by a handler: give up at once, no retries. `code` travels to the failure and to a waiting requester. */
export class Reject extends Error {
  override readonly name: string = 'Reject';
  readonly code: string;

  constructor(reason: string, options?: { code?: string; cause?: unknown }) {
    super(reason, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = options?.code ?? 'REJECTED';
    Object.defineProperty(this, brandReject, { value: true });
  }

  static is(error: unknown): error is Reject {
    return typeof error === 'object' && error !== null && brandReject in error;
  }
}
const brandReject: unique symbol = Symbol.for('waybill.reject') as never;

/** Thrown by a handler: try again after `delayMs` milliseconds. Counts as a run; after the last one the message is failed. */
export class RetryLater extends Error {
  override readonly name: string = 'RetryLater';
  readonly delayMs: number;

  constructor(delayMs: number, options?: { cause?: unknown }) {
    super(`try again in ${delayMs} ms`, options);
    this.delayMs = delayMs;
    Object.defineProperty(this, brandLater, { value: true });
  }

  static is(error: unknown): error is RetryLater {
    return typeof error === 'object' && error !== null && brandLater in error;
  }
}
const brandLater: unique symbol = Symbol.for('waybill.retry-later') as never;

/** Any thrown value as an Error: handlers may reject with strings, undefined, or objects. */
export function asError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  if (typeof thrown === 'object' && thrown !== null && typeof (thrown as { message?: unknown }).message === 'string') {
    return new Error((thrown as { message: string }).message, { cause: thrown });
  }
  const what = thrown === null || thrown === undefined ? '' : typeof thrown === 'object' ? 'an object: ' : `a ${typeof thrown}: `;
  return new Error(`no error was thrown, but ${what}${describe(thrown)}`, { cause: thrown });
}

function describe(value: unknown): string {
  try {
    return String(typeof value === 'object' ? JSON.stringify(value) : value).slice(0, 200);
  } catch {
    return 'something that cannot be printed';
  }
}
