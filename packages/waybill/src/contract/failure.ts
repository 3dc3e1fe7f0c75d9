import type { WaybillErrorCode } from './errors.ts';
import type { WireMessage } from './message.ts';
import type { FailureRow, StoredError } from './store.ts';

/** Characters of an error's message or stack that are kept. */
const textMax = 8_000;
const codeMax = 100;

/** An error as failures and waiting keep it: bounded, with the cause's text. */
export function storedError(error: unknown, codeDefault: WaybillErrorCode): StoredError {
  const e = error as { code?: unknown; message?: unknown; stack?: unknown; cause?: unknown };
  const cause = (e.cause as { message?: unknown } | undefined)?.message;
  const message = String(e.message ?? error) + (typeof cause === 'string' ? ` (cause: ${cause})` : '');
  return {
    code: typeof e.code === 'string' && e.code !== '' && e.code.length <= codeMax ? e.code : codeDefault,
    message: message.slice(0, textMax),
    stack: typeof e.stack === 'string' ? e.stack.slice(0, textMax) : undefined,
  };
}

/** The failure of a message that could not be sent. */
export function unsent(message: WireMessage, code: WaybillErrorCode, text: string, nowMs: number): FailureRow {
  return {
    subscription: undefined,
    message,
    error: { code, message: text, stack: undefined },
    attempts: 1,
    firstFailedMs: nowMs,
    lastFailedMs: nowMs,
    holds: false,
  };
}

/** The failure of a command that no queue takes. */
export function unroutable(message: WireMessage, nowMs: number): FailureRow {
  const text = `no queue takes ${message.type} at ${message.recipient ?? 'anybody'}: deploy a service that handles it, then retry it from failures`;
  return unsent(message, 'UNROUTABLE', text, nowMs);
}
