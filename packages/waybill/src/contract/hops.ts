import { WaybillError } from './errors.ts';
import type { Envelope } from './message.ts';

/** A chain of causes longer than this is taken for two services that answer each other for ever (E12). */
export const hopsDefault = 64;
/** What waits this long does not run away: a chain begins anew. */
const restMs = 1_000;

/**
 * How many messages stand before one that `cause` brings about; undefined for the first of a chain.
 * @throws WaybillError `HOP_LIMIT`
 */
export function nextHop(what: string, cause: object | undefined, delayMs: number, max: number): number | undefined {
  if (cause === undefined || delayMs >= restMs) return undefined;
  const hops = ((cause as Partial<Envelope>).hops ?? 0) + 1;
  if (hops <= max) return hops;
  throw new WaybillError(
    'HOP_LIMIT',
    `${what}: ${max} messages have caused one another, none of them delayed, and this would be one more; two handlers answer each other, or raise hopsMax`,
  );
}
