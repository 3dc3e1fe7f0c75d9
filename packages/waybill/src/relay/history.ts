/**
 * Room 3, the other way round: pages of the ledger, for those who ask.
 *
 * In: requests of other services (`historyType`) from this service's own queue. Out: replies with a page of what was
 * published, read from the ledger. Guaranteed: nothing is written, a page asked for twice is the same or longer. A crash
 * leaves a request that comes again, or an asker who asks again.
 *
 * Cost: one read and one message per page of up to 200 messages or 512 kB.
 */
import { sleep, type Clock } from '../contract/clock.ts';
import { asError } from '../contract/errors.ts';
import type { HistoryPage, HistoryQuery } from '../contract/history.ts';
import type { WireMessage } from '../contract/message.ts';
import type { OutboxPort } from '../contract/store.ts';
import type { Consumer, Delivery } from '../contract/transport.ts';

const messagesMax = 200;
/** Of bodies to one reply: as text it is a third larger, and must stay below what brokers carry (1 MiB). */
const bytesMax = 512 * 1024;
const receiveMax = 10;
const waitMs = 1_000;
const pauseMs = 1_000;

export interface HistoryDesk {
  start(): void;
  stop(): Promise<void>;
}

export function createHistoryDesk(options: {
  consumer: Consumer;
  history: NonNullable<OutboxPort['history']>;
  clock: Clock;
  /** Reads a request, and sends what answers it; neither throws for a request that makes no sense. */
  answer: (delivery: Delivery, page: (query: HistoryQuery) => Promise<string>) => Promise<void>;
  trouble: (error: unknown) => void;
}): HistoryDesk {
  const { consumer, clock } = options;
  const stopping = new AbortController();
  let running: Promise<void> | undefined;

  const page = async (query: HistoryQuery): Promise<string> => writePage(await options.history({ ...query, max: Math.min(query.max, messagesMax) }), query);

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      let deliveries: readonly Delivery[] = [];
      try {
        deliveries = await consumer.receive(receiveMax, { waitMs, signal: stopping.signal });
        for (const delivery of deliveries) await options.answer(delivery, page);
        if (deliveries.length > 0) await consumer.settle(deliveries);
      } catch (error) {
        if (stopping.signal.aborted) return;
        options.trouble(asError(error));
        await Promise.resolve(consumer.release(deliveries)).catch(() => {});
        await sleep(clock, pauseMs, stopping.signal);
      }
    }
  };

  return {
    start() {
      running ??= loop();
    },
    async stop() {
      stopping.abort();
      await running;
      await consumer.close();
    },
  };
}

/** A page as JSON, cut where it grows too large: the asker goes on from there. */
function writePage({ messages, next, more, trimmed }: HistoryPage, query: HistoryQuery): string {
  let bytes = 0;
  let count = 0;
  for (const { body } of messages) {
    if (count > 0 && bytes + body.byteLength > bytesMax) break;
    bytes += body.byteLength;
    count++;
  }
  const cut = count < messages.length;
  return JSON.stringify({
    messages: messages.slice(0, count).map((message) => ({ ...message, body: Buffer.from(message.body).toString('base64') })),
    next: next ?? null,
    more,
    trimmed,
    // Asked again with fewer: a driver's `next` stands for the whole page alone.
    ...(cut && { fewer: Math.min(count, query.max) }),
  });
}

/** @returns undefined when it is no page; `fewer`: ask again for so many only */
export function readPage(json: unknown): (HistoryPage & { readonly fewer: number | undefined }) | undefined {
  const page = json as { messages?: unknown; next?: unknown; more?: unknown; trimmed?: unknown; fewer?: unknown } | undefined;
  if (!Array.isArray(page?.messages)) return undefined;
  const messages = (page.messages as (Omit<WireMessage, 'body'> & { body: string })[]).map((message) => ({
    ...message,
    recipient: message.recipient ?? undefined,
    key: message.key ?? undefined,
    body: Buffer.from(message.body, 'base64'),
  }));
  return {
    messages,
    next: typeof page.next === 'string' ? page.next : undefined,
    more: page.more === true,
    trimmed: page.trimmed === true,
    fewer: typeof page.fewer === 'number' ? page.fewer : undefined,
  };
}
