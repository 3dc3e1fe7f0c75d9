/**
 * The address of one instance for its replies: a queue of its own, which goes with it (and which Azure removes five
 * minutes after an instance that died). Replies live as long as their caller, so they are received and deleted at once.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import type { Signals } from '../../contract/signals.ts';
import type { Delivery, ReplyInbox } from '../../contract/transport.ts';
import type { AzureClient, AzureReceived, AzureReceiver } from './client.ts';
import type { Topology } from './topology.ts';
import { deliveryOf, fromAzure } from './wire.ts';

const credit = 50;
const pauseFirstMs = 200;
const pauseMaxMs = 10_000;

export interface RepliesOptions {
  readonly queue: string;
  readonly client: AzureClient;
  readonly topology: Topology;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly deliver: (delivery: Delivery) => void;
}

export async function listen(options: RepliesOptions): Promise<ReplyInbox> {
  const { queue, client, topology, clock, signals, deliver } = options;
  const closed = new AbortController();
  let receiver: AzureReceiver | undefined;

  const take = async (message: AzureReceived): Promise<void> => {
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
      { processMessage: take, processError: async () => void (receiver === opened && reopen()) },
      { autoCompleteMessages: false, maxConcurrentCalls: credit },
    );
  };
  /** The connection was lost, or the queue: while the caller waits, so do we. */
  const reopen = (): void => {
    const broken = receiver;
    receiver = undefined;
    broken?.close().catch(() => {});
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
      await receiver?.close().catch(() => {});
      await topology.dropReplies(queue).catch(() => {}); // Azure does, later
    },
  };
}
