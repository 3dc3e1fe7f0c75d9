/** The messages that a saga sends to itself: timeouts, the next step to undo, and the replies that find back to it. */
import { createHash } from 'node:crypto';
import { type ContractDefinition, defineCommand, defineEvent, definitionOf } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Format } from '../contract/format.ts';
import type { Message, WireMessage } from '../contract/message.ts';
import { type StandardSchema } from '../contract/schema.ts';
import type { Due, WaitingEntry } from '../contract/store.ts';

/** `generation` tells a timeout from one that was set again under its name; `step` is its place in the ledger. */
export type Own =
  | { readonly key: string; readonly does: 'timeout'; readonly name: string; readonly generation: number }
  | { readonly key: string; readonly does: 'undo'; readonly step: number };

const asWritten: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'waybill', validate: (value) => ({ value }) } };

/** Never travels: these come from what waits, and from nowhere else. */
export const ownContract: ContractDefinition = definitionOf(defineEvent('waybill.saga', { schema: asWritten, key: (own: Own) => own.key }));

/** Replies travel as commands to the service whose saga asked: by registered topology, not to an instance's address. */
export function replyContract(name: string, service: string): ContractDefinition {
  return definitionOf(defineCommand(`waybill.reply.${name}`, { to: service, schema: asWritten }));
}

/** Where the replies to a saga's commands go. */
export function replyAddress(service: string, name: string): string {
  return `saga:${service}/${name}`;
}

/** The same for each timeout of an instance: setting it again replaces it. Of any key 64 hexadecimal digits. */
function ownId(own: Own): string {
  const identity = own.does === 'timeout' ? ['timeout', own.key, own.name] : ['undo', own.key, String(own.step)];
  return `saga:${createHash('sha256').update(JSON.stringify(identity)).digest('hex')}`;
}

export function timeoutId(key: string, name: string): string {
  return ownId({ key, does: 'timeout', name, generation: 0 });
}

/** A row that brings the message back when it is due. */
export function ownEntry(
  own: Own,
  of: { readonly subscription: string; readonly service: string; readonly format: Format; readonly cause: Pick<Message, 'id' | 'correlationId' | 'headers'>; readonly hops: number | undefined; readonly nowMs: number; readonly dueMs: Due; readonly attempts: number },
): WaitingEntry {
  const { service, cause, nowMs } = of;
  const id = ownId(own);
  const { type } = ownContract;
  const time = new Date(nowMs);
  const { headers, body } = of.format.encode(
    { kind: 'event', id, source: service, type, time, key: own.key, correlationId: cause.correlationId, causationId: cause.id, headers: cause.headers, ...(of.hops !== undefined && { hops: of.hops }) },
    JSON.stringify(own),
  );
  const message: WireMessage = { kind: 'event', id, source: service, type, recipient: undefined, key: own.key, time: time.getTime(), headers, body };
  return {
    subscription: of.subscription,
    message,
    dueMs: of.dueMs,
    attempt: 0,
    attempts: of.attempts,
    firstFailedMs: undefined,
    error: undefined,
    reason: 'timeout',
    inOrder: false, // it must not keep the messages of its key waiting, nor they it
  };
}

/** What a reply brings. */
export type ReplyBody = { readonly ok: true; readonly data?: unknown } | { readonly ok: false; readonly code: string; readonly message: string };

/** @throws WaybillError `MESSAGE_UNDECODABLE` for what is no reply */
export function readReply(body: unknown): ReplyBody {
  const reply = body as Partial<Record<'ok' | 'code' | 'message' | 'data', unknown>> | null;
  if (typeof reply === 'object' && reply !== null) {
    if (reply.ok === true) return { ok: true, data: reply.data };
    if (reply.ok === false) return { ok: false, code: String(reply.code).slice(0, 100), message: String(reply.message).slice(0, 1_000) };
  }
  throw new WaybillError('MESSAGE_UNDECODABLE', 'this is no reply: its body must be { ok, data } or { ok, code, message }');
}
