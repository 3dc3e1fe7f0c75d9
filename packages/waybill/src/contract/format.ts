import type { Envelope } from './message.ts';

/**
 * How a message stands on the wire: headers and body bytes. `decode` must accept whatever `encode` made, and refuses
 * anything else with `MESSAGE_UNDECODABLE`; it never returns half a message. The default is CloudEvents 1.0
 * (`waybill/formats/cloudevents`).
 */
export interface Format {
  readonly name: string;
  /** `json` is the message's data as JSON text. */
  encode(envelope: Envelope, json: string): { headers: Record<string, string>; body: Uint8Array };
  decode(headers: Readonly<Record<string, string>>, body: Uint8Array): { envelope: Envelope; json: string };
}
