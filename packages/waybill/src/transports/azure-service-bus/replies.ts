/**
 * The address of one instance for its replies: a queue of its own, which goes with it (and which Azure removes five
 * minutes after an instance that died). Replies live as long as their caller, so they are received and deleted at once.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import type { Signals } from '../../contract/signals.ts';
import type { Delivery, ReplyInbox } from '../../contract/transport.ts';
import type { AzureReceived, AzureReceiver } from './client.ts';
import type { Clients } from './clients.ts';
import { makeDrainSafe } from './safe-drain.ts';
import type { Topology } from './topology.ts';
import { answerWithin, type Watch, watch } from './watch.ts';
import { deliveryOf, fromAzure } from './wire.ts';

const credit = 50;
const pauseFirstMs = 200;
const pauseMaxMs = 10_000;

export interface RepliesOptions {
  readonly queue: string;
  readonly clients: Clients;
  /** A link that brings nothing for so long is asked after; which also tells Azure that the queue is in use. */
  readonly silentMs: number;
  readonly topology: Topology;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly deliver: (delivery: Delivery) => void;
}

export async function listen(options: RepliesOptions): Promise<ReplyInbox> {
  const { queue, clients, silentMs, topology, clock, signals, deliver } = options;
  const closed = new AbortController();
  let client = clients.take();
  let receiver: AzureReceiver | undefined;
  let watching: Watch | undefined;

  const take = async (message: AzureReceived): Promise<void> => {
    watching?.heard();
    try {
      deliver(deliveryOf(message, fromAzure(message), 'reply', { redelivered: false, suspect: false }));
    } catch (error) {
      signals.emit('trouble', { where: 'a reply', error });
    }
  };
  const open = async (): Promise<void> => {
    await topology.makeReplies(queue);
    if (closed.signal.aborted) return;
    const opened = client.createReceiver(queue, { receiveMode: 'receiveAndDelete', skipParsingBodyAsJson: true });
    receiver = opened;
    opened.subscribe(
      { processMessage: take, processError: async () => void (receiver === opened && reopen('link')) },
      { autoCompleteMessages: false, maxConcurrentCalls: credit },
    );
    makeDrainSafe(opened, clock);
    watching ??= watch({ clock, silentMs, missed: async () => receiver !== undefined && (await receiver.peekMessages(1)).length > 0, stuck: (what) => reopen(what) });
  };
  /** The connection was lost, or the queue: while the caller waits, so do we. */
  const reopen = (what: 'link' | 'client'): void => {
    const broken = receiver;
    if (!broken) return; // it is being opened anew
    receiver = undefined;
    broken.close().catch(() => {});
    if (what === 'client') {
      clients.replace(client);
      clients.leave(client);
      client = clients.take();
    }
    void (async () => {
      for (let pauseMs = pauseFirstMs; !closed.signal.aborted; pauseMs = Math.min(pauseMs * 2, pauseMaxMs)) {
        await sleep(clock, pauseMs, closed.signal);
        if (closed.signal.aborted) return;
        try {
          return await open();
        } catch {} // tried again
      }
    })();
  };

  await open();
  return {
    address: queue,
    async close() {
      if (closed.signal.aborted) return;
      closed.abort();
      watching?.end();
      if (receiver) await answerWithin(clock, silentMs, receiver.close().catch(() => {}));
      clients.leave(client);
      await topology.dropReplies(queue).catch(() => {}); // Azure does, later
    },
  };
}
