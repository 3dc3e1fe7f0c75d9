import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Envelope } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';

/** Requests that wait for their reply. They live as long as their caller: nothing is stored (G7). */
export interface Requests {
  /**
   * Settles with the reply's data, or with `REPLY_TIMEOUT`, `REPLY_FAILED`, or the signal's reason. Throws at once what
   * must keep the request from being sent at all.
   */
  wait(id: string, what: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<unknown>;
  /** A reply has come. */
  take(envelope: Envelope, json: string): void;
  /** Nobody will answer any more. */
  close(): void;
}

/** Open requests at most: the callers' memory is ours. */
const openMax = 10_000;

export function createRequests(options: { clock: Clock; signals: Signals }): Requests {
  const { clock, signals } = options;
  const open = new Map<string, { resolve: (data: unknown) => void; reject: (error: unknown) => void }>();

  return {
    wait(id, what, timeoutMs, signal) {
      if (!Number.isFinite(timeoutMs) || timeoutMs <= 0) {
        throw new WaybillError('INVALID_OPTION', 'request: timeoutMs must be a number of milliseconds above 0');
      }
      if (open.size >= openMax) {
        throw new WaybillError('REPLY_TIMEOUT', `${openMax} requests wait already; let some end first`);
      }
      signal?.throwIfAborted();
      return new Promise((resolve, reject) => {
        const end = (): void => {
          open.delete(id);
          cancel();
          signal?.removeEventListener('abort', abort);
        };
        const abort = (): void => {
          end();
          reject(signal!.reason as Error);
        };
        const cancel = clock.after(timeoutMs, () => {
          end();
          reject(
            new WaybillError(
              'REPLY_TIMEOUT',
              `${what}: no reply within ${timeoutMs} ms; it may still be handled. Ask again under the same key, or use a saga`,
            ),
          );
        });
        signal?.addEventListener('abort', abort, { once: true });
        open.set(id, {
          resolve: (data) => (end(), resolve(data)),
          reject: (error) => (end(), reject(error as Error)),
        });
      });
    },
    take(envelope, json) {
      const waiting = open.get(envelope.causationId ?? '');
      if (!waiting) return signals.emit('late-reply', { correlationId: envelope.correlationId });
      const reply = readReply(json);
      if (reply?.ok === true) waiting.resolve(reply.data);
      else waiting.reject(failed(reply, envelope.source));
    },
    close() {
      for (const { reject } of open.values()) reject(new WaybillError('STOPPED', 'the bus was stopped while a request waited'));
    },
  };
}

type Reply = { ok: true; data?: unknown } | { ok: false; code: string; message: string };

/** The body of a reply: what the handler returned, or why there is nothing. */
export function writeReply(reply: { ok: true; json: string } | { ok: false; code: string; message: string }): string {
  return reply.ok ? `{"ok":true,"data":${reply.json}}` : JSON.stringify(reply);
}

function readReply(json: string): Reply | undefined {
  try {
    const body = JSON.parse(json) as Reply;
    return typeof body === 'object' && body !== null && typeof body.ok === 'boolean' ? body : undefined;
  } catch {
    return undefined;
  }
}

function failed(reply: Reply | undefined, source: string): WaybillError {
  if (!reply || reply.ok) return new WaybillError('REPLY_FAILED', `the reply of ${source} cannot be read`);
  const cause = Object.assign(new Error(String(reply.message)), { code: String(reply.code) });
  return new WaybillError('REPLY_FAILED', `${source} gave up: ${String(reply.message)} (${String(reply.code)})`, { cause });
}
