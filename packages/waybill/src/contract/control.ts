/** Messages between buses, beside the users' own. They stand in no ledger and no inbox, and no handler sees them. */
import type { Envelope, WireMessage } from './message.ts';
import type { Format } from './format.ts';

/**
 * A publisher that has sent everything says so, once a second: what a subscription has taken then is all there was. A
 * broker's driver may drop one that is older than `heartbeatLifeMs`, and gives it to each part of a queue that has parts.
 */
export const heartbeatType = 'waybill.heartbeat.v1';
export const heartbeatLifeMs: number = 10_000;

/** Asks a publisher for a page of what it has sent; goes to its queue `historyQueue`. */
export const historyType = 'waybill.history.v1';

export function historyQueue(service: string): string {
  return `${service}.$history`;
}

export function isHeartbeat(delivery: { readonly headers: Readonly<Record<string, string>> }): boolean {
  return delivery.headers['ce-type'] === heartbeatType;
}

export function isControl(delivery: { readonly headers: Readonly<Record<string, string>> }): boolean {
  return isHeartbeat(delivery) || delivery.headers['ce-type'] === historyType;
}

/** A control message as it travels. */
export function controlMessage(format: Format, envelope: Envelope, json: string): WireMessage {
  const { kind, id, source, type, recipient, time } = envelope;
  return { kind, id, source, type, recipient, key: undefined, time: time.getTime(), ...format.encode(envelope, json) };
}
