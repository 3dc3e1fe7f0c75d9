/** How the command ends: one number that a script can rely on. */
import { WaybillError, type WaybillErrorCode } from 'waybill';

export const exit = {
  done: 0,
  failed: 1,
  usage: 2,
  /** The check found something. */
  found: 3,
  unreachable: 4,
  refused: 5,
} as const;

export type Exit = (typeof exit)[keyof typeof exit];

/** Wrong usage, in our own words. */
export class UsageError extends Error {}

const byCode: Partial<Record<WaybillErrorCode, Exit>> = {
  INVALID_OPTION: exit.usage,
  INVALID_URL: exit.usage,
  NOT_CONFIGURED: exit.usage,
  STORE_UNREACHABLE: exit.unreachable,
  TRANSPORT_UNREACHABLE: exit.unreachable,
  STORE_READONLY: exit.refused,
  TOPOLOGY_MISSING: exit.refused, // these credentials may not create it
  TRANSPORT_DENIED: exit.refused,
};

export function exitOf(error: unknown): Exit {
  if (error instanceof UsageError) return exit.usage;
  return (WaybillError.is(error) && byCode[error.code]) || exit.failed;
}

/** An error for people: its code, what happened and what to do, and no secret. */
export function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return withoutSecrets(WaybillError.is(error) ? `${error.code}: ${text}` : text);
}

/** Passwords in URLs and keys of connection strings, wherever a driver or the service's module may have put them. */
export function withoutSecrets(text: string): string {
  return text.replace(/([a-z][a-z0-9+.-]*:\/\/[^\s/:@]*):[^\s/@]+@/gi, '$1:***@').replace(/(SharedAccessKey|Password|Pwd)=[^;\s]+/gi, '$1=***');
}
