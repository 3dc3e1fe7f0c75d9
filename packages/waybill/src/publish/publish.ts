/**
 * Room 1: data → messages ready for the ledger.
 *
 * In: a contract, data and options. Out: one message (and its downcast copies) as bytes, an id and a token; nothing is
 * written here. Guaranteed: what comes out fits its contract when read back, stays within the limits, and will never be
 * encoded again. A crash in this room leaves nothing behind.
 *
 * Cost per message: one JSON.stringify, one JSON.parse, one validation; no I/O, and no promise where schema and middleware
 * answer at once.
 */
import type { Clock } from '../contract/clock.ts';
import { checkHeaderSize, checkId } from '../contract/bounds.ts';
import type { ContractDefinition, MessageOptions } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Format } from '../contract/format.ts';
import { type Envelope, type Later, type OutgoingMessage, type WireMessage, replyType, wireOf } from '../contract/message.ts';
import type { Middleware, Published } from '../contract/api.ts';
import type { Signals } from '../contract/signals.ts';
import { nextHop } from '../contract/hops.ts';
import { andThen } from '../contract/maybe.ts';
import type { MaybePromise } from '../contract/store.ts';
import { callContract } from '../contract/order.ts';
import { type CheckedData, checkData } from './data.ts';
import { checkHeaders, noHeaders } from './headers.ts';
import type { Scope } from './scope.ts';
import { writeToken } from './token.ts';
import { told } from '../contract/told.ts';

/** A message ready for the ledger. */
export interface Prepared extends Published {
  /** The message, and after it the same in older versions, under the same id. */
  readonly messages: readonly WireMessage[];
  /** Undefined: at once. */
  readonly later: Later | undefined;
  /** The id, where nobody chose it: no other transaction publishes it. */
  readonly fresh: string | undefined;
}

export interface PrepareOptions extends MessageOptions {
  readonly replyTo?: string;
  readonly replyKey?: string;
}

/** What is to be published. */
export interface Unprepared {
  readonly contract: ContractDefinition;
  readonly data: unknown;
  readonly options: PrepareOptions;
}

export interface Publish {
  /** Reads `data` and `options` at once; answers at once where schema and middleware do. */
  prepare(
    contract: ContractDefinition,
    data: unknown,
    options: PrepareOptions,
    cause: Scope['cause'],
  ): MaybePromise<Prepared>;
  /** Of several each is prepared although another is refused. */
  prepareAll(drafts: readonly Unprepared[], cause: Scope['cause']): MaybePromise<readonly Prepared[]>;
  /** The answer to a command, as a message to whoever waits for it. */
  reply(command: Envelope, json: string): WireMessage;
}

export function createPublish(options: {
  service: string;
  clock: Clock;
  signals: Signals;
  format: Format;
  middleware: readonly Middleware[];
  propagate: readonly string[];
  hopsMax: number;
  /** Told of each contract that is published. */
  noticeUnread: (contract: ContractDefinition) => void;
}): Publish {
  const { service, clock, signals, format, middleware, hopsMax } = options;
  const propagate = Object.keys(checkHeaders(Object.fromEntries(options.propagate.map((name) => [name, '']))));

  const prepare: Publish['prepare'] = (contract, data, given, cause) => {
    // The caller's objects are read before anything is awaited: what happens to them later changes nothing (A15).
    checkOptions(given);
    const time = new Date(clock.now());
    const id = given.id ?? clock.id();
    const headers = headersOf(given, cause);
    const later = laterOf(given);
    const fresh = given.id === undefined ? id : undefined;
    const { correlationId, causationId = cause?.id, replyTo, replyKey, ttlMs } = given;
    return andThen(checkData(contract, data), (checked) => {
      options.noticeUnread(contract);
      if (checked.extra.length > 0 && signals.has('extra-fields')) {
        signals.emit('extra-fields', { type: contract.type, paths: checked.extra });
      }
      const envelope: { -readonly [K in keyof Envelope]: Envelope[K] } = {
        kind: contract.kind,
        id,
        source: service,
        type: contract.type,
        time,
        correlationId: correlationId ?? cause?.correlationId ?? id,
        headers,
      };
      // One by one, and what is absent not at all: this runs once per message, and middleware sees what there is.
      if (causationId !== undefined) envelope.causationId = causationId;
      if (checked.key !== undefined) envelope.key = checked.key;
      if (checked.sequence !== undefined) envelope.sequence = checked.sequence;
      if (contract.to !== undefined) envelope.recipient = contract.to;
      if (replyTo !== undefined) envelope.replyTo = replyTo;
      if (replyKey !== undefined) envelope.replyKey = replyKey;
      const hops = nextHop(contract.type, cause, later === undefined ? 0 : (later.afterMs ?? later.atMs - time.getTime()), hopsMax);
      if (hops !== undefined) envelope.hops = hops;
      if (cause?.traceparent !== undefined) envelope.traceparent = cause.traceparent;
      if (ttlMs !== undefined) envelope.expiresAt = new Date(time.getTime() + ttlMs);
      const messages = middleware.length > 0 || contract.downcast ? encodeAll(contract, envelope, data, checked) : [encode(contract, envelope, checked.json)];
      return andThen(messages, (all) => ({ id, token: tokenOf(all), messages: all, later, fresh }));
    });
  };

  return {
    prepare,

    prepareAll(drafts, cause) {
      const one = ({ contract, data, options: given }: Unprepared): MaybePromise<Prepared> => prepare(contract, data, given, cause);
      if (drafts.length !== 1) return Promise.all(drafts.map(async (draft) => one(draft)));
      return andThen(one(drafts[0]!), (prepared) => [prepared]);
    },

    reply(command, json) {
      const saga = sagaAddress.exec(command.replyTo!);
      const envelope: Envelope = {
        // To a saga it goes as a command, over what its service has bound; else to the one instance that waits for it.
        ...(saga
          ? { kind: 'command', type: `waybill.reply.${saga[2]}.v1`, recipient: saga[1]!, ...(command.replyKey !== undefined && { key: command.replyKey }) }
          : { kind: 'reply', type: replyType, recipient: command.replyTo! }),
        id: clock.id(),
        source: service,
        time: new Date(clock.now()),
        correlationId: command.correlationId,
        causationId: command.id,
        hops: (command.hops ?? 0) + 1,
        headers: inherit(command.headers, propagate),
      };
      return wire(envelope, format, json);
    },
  };

  function encode(contract: ContractDefinition, envelope: Envelope, json: string): WireMessage {
    return wire(envelope, contract.format ?? format, json);
  }

  function headersOf(given: PrepareOptions, cause: Scope['cause']): Readonly<Record<string, string>> {
    const own = given.headers === undefined ? noHeaders : checkHeaders(given.headers);
    return cause === undefined || propagate.length === 0 ? own : checkHeaders({ ...inherit(cause.headers, propagate), ...own });
  }

  /** Through the middleware, and in older versions too. */
  async function encodeAll(contract: ContractDefinition, envelope: Envelope, data: unknown, { json, output }: CheckedData): Promise<WireMessage[]> {
    const final = middleware.length > 0 ? { ...envelope, headers: await throughMiddleware(envelope, data) } : envelope;
    const messages = [encode(contract, final, json)];
    if (contract.downcast) await addDowncasts(contract, output, final, messages);
    return messages;
  }

  /** The same message in older versions, newest first, for receivers that have not been upgraded. */
  async function addDowncasts(
    contract: ContractDefinition,
    output: unknown,
    envelope: Envelope,
    messages: WireMessage[],
  ): Promise<void> {
    let newer = contract;
    let newerOutput = output;
    while (newer.previous && newer.downcast) {
      const older = newer.previous;
      const data = castDown(newer, newerOutput);
      const checked = await checkData(older, data);
      messages.push(encode(older, { ...envelope, type: older.type, downcastOf: contract.type }, checked.json));
      newer = older;
      newerOutput = checked.output;
    }
  }

  /** Only headers may be changed: the rest has been checked, and the id may already be known to the caller. */
  async function throughMiddleware(envelope: Envelope, data: unknown): Promise<Record<string, string>> {
    let last: Readonly<Record<string, string>> | undefined;
    const step = async (index: number, message: OutgoingMessage): Promise<void> => {
      const layer = middleware[index];
      if (!layer) last = message.headers;
      else if (layer.publish) await layer.publish(message, (next) => step(index + 1, next));
      else await step(index + 1, message);
    };
    await step(0, { ...envelope, headers: { ...envelope.headers }, data });
    if (!last) {
      throw new WaybillError('INVALID_OPTION', `${envelope.type}: publish middleware must call next(message), or throw`);
    }
    return checkHeaders(last);
  }
}

/** Where a saga's replies go: a service and a saga's name, and nothing else that a sender could name. */
const sagaAddress = /^saga:([a-z][a-z0-9-]{0,62})\/([a-z][a-z0-9-]{0,79})$/;

/** What the caller gets to know of it. */
export function publishedOf({ id, token }: Prepared): Published {
  return { id, token };
}

function tokenOf(messages: readonly WireMessage[]): string {
  const { source, id, time } = messages[0]!;
  return writeToken({ source, id, types: messages.map(({ type }) => type), timeMs: time });
}

function castDown(contract: ContractDefinition, output: unknown): unknown {
  return callContract(contract, 'downcast', () => contract.downcast!(output));
}

function wire(envelope: Envelope, format: Format, json: string): WireMessage {
  const encoded = format.encode(envelope, json);
  checkHeaderSize(encoded.headers, envelope.type);
  return wireOf(envelope, encoded);
}

function inherit(headers: Readonly<Record<string, string>>, names: readonly string[]): Record<string, string> {
  const inherited: Record<string, string> = {};
  for (const name of names) if (headers[name] !== undefined) inherited[name] = headers[name];
  return inherited;
}

function laterOf({ deliverAt, delayMs }: PrepareOptions): Later | undefined {
  if (deliverAt) return { atMs: deliverAt.getTime() };
  return delayMs ? { afterMs: delayMs } : undefined;
}

/** A delay may reach this far: a hundred years; more is a mistake in the unit. */
const delayMaxMs = 100 * 365 * 86_400_000;

const known: ReadonlySet<string> = new Set([
  'id', 'headers', 'delayMs', 'deliverAt', 'ttlMs', 'correlationId', 'causationId', 'replyTo', 'replyKey',
]); // prettier-ignore

function checkOptions(options: PrepareOptions): void {
  const refuse = (name: string, why: string): never => {
    throw new WaybillError('INVALID_OPTION', `${name} ${why}`);
  };
  if (typeof options !== 'object' || options === null) refuse('the options', 'must be an object');
  for (const name of Object.keys(options)) if (!known.has(name)) refuse(name, 'is no option of a message');
  if (options.id !== undefined) checkId(options.id, 'id');
  if (options.correlationId !== undefined) checkId(options.correlationId, 'correlationId');
  if (options.causationId !== undefined) checkId(options.causationId, 'causationId');
  const milliseconds = (name: 'delayMs' | 'ttlMs'): void => {
    const value = options[name];
    if (value === undefined) return;
    if (typeof value !== 'number' || !(value >= 0 && value <= delayMaxMs)) {
      refuse(name, `must be a number of milliseconds from 0 to ${delayMaxMs}, not ${told(value)}`);
    }
  };
  milliseconds('delayMs');
  milliseconds('ttlMs');
  if (options.deliverAt !== undefined) {
    if (!(options.deliverAt instanceof Date) || Number.isNaN(options.deliverAt.getTime())) {
      refuse('deliverAt', 'must be a valid Date');
    }
    if (options.delayMs !== undefined) refuse('delayMs', 'and deliverAt exclude each other');
  }
}

