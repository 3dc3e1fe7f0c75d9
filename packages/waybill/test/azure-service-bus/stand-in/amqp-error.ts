/** A refusal as the protocol words it: an AMQP condition, and the HTTP status that `$management` answers with. */
export class AmqpError extends Error {
  readonly condition: string;

  constructor(condition: string, description: string) {
    super(description);
    this.condition = condition;
  }
}

/** Statuses of `$management` by condition, from the protocol guide ("Azure Service Bus: request-response operations"). */
const statuses: Readonly<Record<string, number>> = {
  'amqp:not-found': 404,
  'com.microsoft:message-not-found': 404,
  'com.microsoft:message-lock-lost': 410,
  'com.microsoft:session-lock-lost': 410,
  'com.microsoft:entity-already-exists': 409,
  'com.microsoft:server-busy': 503,
  'amqp:unauthorized-access': 401,
  'amqp:not-implemented': 501,
};

export function statusOf(error: unknown): number {
  return error instanceof AmqpError ? (statuses[error.condition] ?? 500) : 500;
}

export function conditionOf(error: unknown): string {
  return error instanceof AmqpError ? error.condition : 'amqp:internal-error';
}

export const notFound = (path: string): AmqpError =>
  new AmqpError('amqp:not-found', `The messaging entity '${path}' could not be found.`);
export const lockLost = (): AmqpError => new AmqpError('com.microsoft:message-lock-lost', 'The lock supplied is invalid.');
export const sessionLost = (id: string): AmqpError =>
  new AmqpError('com.microsoft:session-lock-lost', `The lock of the session '${id}' has expired.`);
