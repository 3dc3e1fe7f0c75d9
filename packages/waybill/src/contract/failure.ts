import { type WaybillErrorCode, asError } from './errors.ts';
import type { WireMessage } from './message.ts';
import type { FailureRow, StoredError } from './store.ts';

/** Characters of an error's message or stack that are kept. */
const textMax = 8_000;
const codeMax = 100;

/** An error as failures and waiting keep it: bounded, with the cause's text. Whatever was thrown, it never throws. */
export function storedError(error: unknown, codeDefault: WaybillErrorCode): StoredError {
  try {
    const { code, stack } = (error ?? {}) as { code?: unknown; stack?: unknown };
    const { name, message, cause } = asError(error);
    const because = (cause as { message?: unknown } | undefined)?.message;
    const text = String(message) || name;
    return {
      code: typeof code === 'string' && code !== '' && code.length <= codeMax ? code : codeDefault,
      message: (typeof because === 'string' && because !== text ? `${text} (cause: ${because})` : text).slice(0, textMax),
      stack: typeof stack === 'string' ? stack.slice(0, textMax) : undefined,
    };
  } catch {
    return { code: codeDefault, message: 'something was thrown that cannot be read', stack: undefined };
  }
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
