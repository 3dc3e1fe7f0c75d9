/** What a message may be made of, whoever made it: checked before it is sent, and again when it has come from elsewhere. */
import { WaybillError } from './errors.ts';
import { type Envelope, limits } from './message.ts';
import { control } from './order.ts';

/** @throws WaybillError `MESSAGE_TOO_LARGE` when all headers together pass the limits, `MESSAGE_UNDECODABLE` when one is no text */
export function checkHeaderSize(headers: Readonly<Record<string, string>>, what: string): void {
  let bytes = 0;
  let count = 0;
  for (const name of Object.keys(headers)) {
    const value: unknown = headers[name];
    if (typeof value !== 'string') throw new WaybillError('MESSAGE_UNDECODABLE', `the header ${JSON.stringify(name.slice(0, 80))} is no text; mend its sender`);
    count++;
    bytes += name.length + value.length;
  }
  // Most headers are ASCII; only near the limit is it worth measuring.
  if (bytes * 3 > limits.headerBytes) {
    bytes = Object.entries(headers).reduce((sum, [name, value]) => sum + name.length + Buffer.byteLength(value), 0);
  }
  if (count > limits.headers || bytes > limits.headerBytes) {
    throw new WaybillError(
      'MESSAGE_TOO_LARGE',
      `${what}: ${count} headers with ${bytes} bytes; the limits are ${limits.headers} and ${limits.headerBytes}`,
    );
  }
}

/**
 * An id as brokers, inboxes and headers can keep it.
 * @throws WaybillError `INVALID_ID`
 */
export function checkId(id: unknown, what: string): asserts id is string {
  if (isPlainText(id, limits.idLength)) return;
  throw new WaybillError(
    'INVALID_ID',
    `${what} must be a string of 1 to ${limits.idLength} characters without control characters`,
  );
}

/** A text that every store can keep and tell from others, and every header can carry. */
export function isPlainText(text: unknown, lengthMax: number): text is string {
  return typeof text === 'string' && text !== '' && text.length <= lengthMax && !control.test(text) && text.isWellFormed();
}

/** Sources and types of others may be addresses. */
const nameLength = 500;

/**
 * Holds a received message against the limits that its stores, logs and own messages rely on.
 * @throws WaybillError `MESSAGE_UNDECODABLE`, `MESSAGE_TOO_LARGE`
 */
export function checkReceived(envelope: Envelope, headers: Readonly<Record<string, unknown>>): void {
  const must = (name: string, value: unknown, lengthMax: number): void => {
    if (value === undefined || isPlainText(value, lengthMax)) return;
    throw new WaybillError(
      'MESSAGE_UNDECODABLE',
      `"${name}" must be 1 to ${lengthMax} characters, well-formed and without control characters; mend its sender`,
    );
  };
  checkHeaderSize(headers as Readonly<Record<string, string>>, 'a received message');
  must('id', envelope.id, limits.idLength);
  must('source', envelope.source, nameLength);
  must('type', envelope.type, nameLength);
  must('partitionkey', envelope.key, limits.keyLength);
  // Carried along by what its handler publishes.
  must('correlationid', envelope.correlationId, limits.idLength);
  must('causationid', envelope.causationId, limits.idLength);
  must('traceparent', envelope.traceparent, limits.idLength);
  must('replyto', envelope.replyTo, nameLength);
  must('replykey', envelope.replyKey, limits.keyLength);
}
