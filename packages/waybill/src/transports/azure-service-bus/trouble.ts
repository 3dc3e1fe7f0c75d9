/** What the SDK's errors mean here. It throws them alone, or after several tries in an `AggregateError`. */
import { WaybillError } from '../../contract/errors.ts';

interface SdkError {
  readonly code?: string;
  /** Of the administration's answer, over http. */
  readonly statusCode?: number;
  readonly retryable?: boolean;
  /** Of the socket. */
  readonly errno?: number;
  readonly message: string;
}

export function lastError(error: unknown): SdkError {
  const last: unknown = error instanceof AggregateError ? error.errors.at(-1) : error;
  return last instanceof Error ? (last as SdkError) : { message: String(last) };
}

const codes = {
  missing: new Set(['MessagingEntityNotFound', 'MessageEntityNotFoundError']),
  exists: new Set(['MessageEntityAlreadyExistsError', 'MessagingEntityAlreadyExists']),
  disabled: new Set(['MessagingEntityDisabled']),
  denied: new Set(['UnauthorizedAccess', 'UnauthorizedRequestError']),
  lockLost: new Set(['MessageLockLost', 'SessionLockLost', 'MessageNotFound']),
  busy: new Set(['ServiceBusy', 'ServerBusyError']),
  noSession: new Set(['ServiceTimeout', 'SessionCannotBeLocked']),
};

export const isMissing = (error: unknown): boolean => codes.missing.has(lastError(error).code ?? '');
export const isThere = (error: unknown): boolean => codes.exists.has(lastError(error).code ?? '');
export const isDenied = (error: unknown): boolean => codes.denied.has(lastError(error).code ?? '');
/**
 * The administration says no: to these credentials, to where they come from (a firewall), or because there is no room for more
 * entities. The SDK has one code for the last two, and only the text tells which it is.
 */
export const isForbidden = (error: unknown): boolean => isDenied(error) || lastError(error).statusCode === 403;
/** Throttled: nothing is wrong with the link, or with the client. */
export const isBusy = (error: unknown): boolean => codes.busy.has(lastError(error).code ?? '');
export const isLockLost = (error: unknown): boolean => codes.lockLost.has(lastError(error).code ?? '');
export const isNoSession = (error: unknown): boolean => codes.noSession.has(lastError(error).code ?? '');
/** Nobody takes what is sent there. */
export const isClosed = (error: unknown): boolean => isMissing(error) || codes.disabled.has(lastError(error).code ?? '');

/**
 * The conditions of AMQP by which the service says no to a message and would say so again. The SDK keeps such a name nowhere
 * but in front of the text of a `GeneralError`, whose other flags are the same as those of a refused connection.
 */
const refusal = /^(InvalidOperationError|InvalidFieldError|ArgumentError|ArgumentOutOfRangeError|DecodeError|NotImplementedError): /;

export function isRefusal(error: unknown): boolean {
  const { code, message } = lastError(error);
  return code === 'MessageSizeExceeded' || (code === 'GeneralError' && refusal.test(message));
}

/** @returns `TRANSPORT_DENIED` or `TRANSPORT_UNREACHABLE`; an error of ours as it is */
export function translated(error: unknown, doing: string): WaybillError {
  if (WaybillError.is(error)) return error;
  const { code = 'error', message } = lastError(error);
  if (isDenied(error)) {
    return new WaybillError('TRANSPORT_DENIED', `Azure Service Bus, ${doing}: the credentials do not allow it (${message})`, { cause: error });
  }
  return new WaybillError('TRANSPORT_UNREACHABLE', `Azure Service Bus, ${doing}: ${code}: ${message}`, { cause: error });
}

/** Does it, with the SDK's errors as ours. */
export async function doing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw translated(error, what);
  }
}
