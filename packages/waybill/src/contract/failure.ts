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

/**
 * What makes two failures the same trouble, as one text: subscription, type, code, where in the user's own code it was
 * thrown, and the message without what differs from one to the next.
 */
export function troubleOf({ subscription, message, error }: FailureRow): string {
  return JSON.stringify([subscription ?? '', message.type, error.code, ownLine(error.stack), kindOf(error.message)]);
}

/** The first line of the stack outside Node and packages, without its column. */
function ownLine(stack: string | undefined): string {
  const lines = stack?.split('\n').filter((line) => /^\s+at /.test(line)) ?? [];
  const own = lines.find((line) => !/node:|node_modules/.test(line)) ?? '';
  return own.trim().replace(/:\d+\)?$/, '');
}

function kindOf(message: string): string {
  return message
    .replace(/"[^"]*"|'[^']*'|`[^`]*`/g, '…')
    .replace(/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/gi, '#')
    .replace(/\d+(?:[.,]\d+)*/g, '#')
    .slice(0, 500);
}
