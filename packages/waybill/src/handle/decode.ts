import { createHash } from 'node:crypto';
import type { Clock } from '../contract/clock.ts';
import { WaybillError, asError } from '../contract/errors.ts';
import { checkReceived } from '../contract/bounds.ts';
import type { Format } from '../contract/format.ts';
import type { Decode, Incoming, Plan, Taker } from '../contract/handling.ts';
import { tooLarge } from '../contract/json.ts';
import { type Envelope, type WireMessage, limits, wireOf } from '../contract/message.ts';
import { callContract, checkKey, checkSequence, keyOf, sequenceFrom } from '../contract/order.ts';
import type { ContractDefinition } from '../contract/contracts.ts';
import { andThen, isLater } from '../contract/maybe.ts';
import type { MaybePromise } from '../contract/store.ts';
import type { Delivery } from '../contract/transport.ts';
import { readVersion, versionsOf } from '../contract/versions.ts';

/** A type of the wire, and how a message of it becomes what the handler takes. */
interface Route {
  readonly taker: Taker;
  /** From the version on the wire to the handler's: at least one. */
  readonly steps: readonly ContractDefinition[];
}

/**
 * Bytes → a message that a handler can take, before any transaction: decoded, checked against the contract of its
 * version, and brought up to the handler's. Never throws: what cannot be run says why.
 */
export function createDecode(plan: Plan, defaultFormat: Format, clock: Clock): Decode {
  const routes = new Map<string, Route>();
  const formats = new Set<Format>([defaultFormat]);
  for (const taker of plan.handlers.values()) {
    const versions = versionsOf(taker.contract);
    versions.forEach((version, i) => {
      routes.set(version.type, { taker, steps: versions.slice(0, i + 1).reverse() });
      if (version.format) formats.add(version.format);
    });
  }

  return (delivery, waited = false) => {
    let envelope: Envelope;
    let json: string;
    try {
      ({ envelope, json } = decodeAny(formats, delivery));
    } catch (error) {
      return { kind: 'fail', wire: unreadable(delivery, clock.now()), error };
    }
    const wire = wireOf(envelope, delivery);
    if (envelope.expiresAt && envelope.expiresAt.getTime() <= clock.now()) return { kind: 'expired', wire };
    const route = routes.get(envelope.type);
    if (!route) return { kind: 'leave', wire };
    if (route.taker.own && !waited) {
      return { kind: 'fail', wire, error: new WaybillError('MESSAGE_UNDECODABLE', `${envelope.type} comes from what waits here, never from a queue; find out who sent it`) };
    }
    const failed = (error: unknown): Incoming => ({ kind: 'fail', wire, error });
    try {
      const incoming = ready(route, { envelope, json, wire }, plan, clock);
      return isLater(incoming) ? incoming.catch(failed) : incoming;
    } catch (error) {
      return failed(error);
    }
  };
}

function decodeAny(formats: ReadonlySet<Format>, delivery: Pick<Delivery, 'headers' | 'body'>): { envelope: Envelope; json: string } {
  if (delivery.body.byteLength > limits.bodyBytes) throw tooLarge('a received message', delivery.body.byteLength);
  let first: unknown;
  for (const format of formats) {
    try {
      const decoded = format.decode(delivery.headers, delivery.body);
      checkReceived(decoded.envelope, delivery.headers);
      return decoded;
    } catch (error) {
      first ??= error;
    }
  }
  throw WaybillError.is(first) ? first : new WaybillError('MESSAGE_UNDECODABLE', 'the message cannot be decoded', { cause: first });
}

interface Decoded {
  readonly envelope: Envelope;
  readonly json: string;
  readonly wire: WireMessage;
}

function ready(route: Route, decoded: Decoded, plan: Plan, clock: Clock): MaybePromise<Incoming> {
  const { type, source } = decoded.envelope;
  return andThen(readVersion(route.steps, decoded.json, { type, from: `${type} from ${source}`, clock }), (data) => runnable(route, decoded, data, plan));
}

function runnable(route: Route, { envelope, wire }: Decoded, data: unknown, plan: Plan): Incoming {
  const { contract, key: ownKey } = route.taker;
  const key = ownKey ? checkKey(envelope.type, callContract(contract, 'key', () => ownKey(data, envelope))) : (envelope.key ?? keyOf(contract, data));
  const sequence =
    envelope.sequence === undefined ? sequenceFrom(contract, data) : checkSequence(envelope.type, envelope.sequence);
  if (plan.order === 'latest' && (sequence === undefined || key === undefined)) {
    throw new WaybillError(
      'SEQUENCE_MISSING',
      `${envelope.type} from ${envelope.source} has no ${key === undefined ? 'key' : 'sequence'}, and order 'latest' needs it; its publisher must send one`,
    );
  }
  return { kind: 'run', wire, envelope, message: envelope, data, key, sequence, taker: route.taker };
}

/** What is no message still needs an identity, so that its copies are parked once: the hash of its bytes. */
function unreadable(delivery: Pick<Delivery, 'kind' | 'headers' | 'body'>, nowMs: number): WireMessage {
  const hash = createHash('sha256').update(JSON.stringify(delivery.headers)).update(delivery.body).digest('hex');
  const header = (name: string): string | undefined => {
    const value: unknown = delivery.headers[name];
    return typeof value === 'string' && value !== '' && value.length <= limits.idLength ? value : undefined;
  };
  return {
    kind: delivery.kind,
    id: `unreadable:${hash}`,
    source: header('ce-source') ?? 'unknown',
    type: header('ce-type') ?? 'unknown',
    recipient: undefined,
    key: undefined,
    time: nowMs,
    headers: delivery.headers,
    body: delivery.body,
  };
}

/** The code and text of a failure for a waiting requester. */
export function replyError(error: unknown): { code: string; message: string } {
  const e = asError(error);
  const code = (e as { code?: unknown }).code;
  return { code: typeof code === 'string' ? code : 'HANDLER_FAILED', message: e.message.slice(0, 1_000) };
}
