/**
 * Out: one sender per topic or queue. A call's messages go out in batches as large as the link takes, one batch of an
 * entity after another, so that a message whose fate is unknown is never overtaken by its own key: the whole call is
 * sent again, with the same bytes and ids. A batch that the service refuses is sent one by one, to find the culprit.
 */
import type { Clock } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { SendOutcome } from '../../contract/transport.ts';
import type { AzureBatch, AzureClient, AzureMessage, AzureSender } from './client.ts';
import { closeForGood } from './clients.ts';
import type { Names } from './names.ts';
import { isBusy, isClosed, isMissing, isRefusal, lastError, translated } from './trouble.ts';
import { answerWithin, Patience } from './watch.ts';
import { toAzure } from './wire.ts';

/** Senders that stay open: one is needed for each command type and each instance that waits for replies. */
const sendersMax = 64;

const stored: SendOutcome = { kind: 'stored' };
const unroutable: SendOutcome = { kind: 'unroutable' };

interface Numbered {
  readonly at: number;
  readonly message: WireMessage;
}

export interface PublisherOptions {
  readonly client: AzureClient;
  /** Makes the next client, which takes the place of one that failed: after a cut the SDK may stand still for a minute. */
  readonly another: (() => AzureClient) | undefined;
  readonly names: Names;
  readonly clock: Clock;
  /** Opening a link takes no longer, unless it stands still. */
  readonly openMaxMs: number;
}

export class Publisher {
  #client: AzureClient;
  readonly #options: PublisherOptions;
  readonly #names: Names;
  readonly #senders = new Map<string, AzureSender>();
  readonly #patience: Patience;

  constructor(options: PublisherOptions) {
    this.#patience = new Patience(options.openMaxMs);
    this.#client = options.client;
    this.#options = options;
    this.#names = options.names;
  }

  async send(messages: readonly WireMessage[]): Promise<readonly SendOutcome[]> {
    const outcomes: SendOutcome[] = messages.map(() => unroutable);
    const byEntity = new Map<string, Numbered[]>();
    messages.forEach((message, at) => {
      const entity = this.#entityOf(message);
      if (entity === undefined) return;
      const group = byEntity.get(entity);
      if (group) group.push({ at, message });
      else byEntity.set(entity, [{ at, message }]);
    });
    // All of them end before this call does: nothing of it may arrive after it was sent again.
    const ended = await Promise.allSettled([...byEntity].map(([entity, group]) => this.#sendTo(entity, group, outcomes)));
    const errors = ended.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
    if (errors.length === 0) return outcomes;
    if (!errors.every(isBusy)) this.#renew(); // a new connection would be one more thing to serve for who is too busy
    throw translated(errors[0], 'sending');
  }

  #renew(): void {
    const { another, clock } = this.#options;
    if (!another) return;
    this.#senders.clear();
    void closeForGood(this.#client, clock);
    this.#client = another();
  }

  #entityOf({ kind, recipient, type }: WireMessage): string | undefined {
    if (kind === 'event') return this.#names.topic;
    if (recipient === undefined) return undefined;
    // The address of an instance that waits is a queue's path; a service's name has no slash.
    return recipient.includes('/') ? recipient : this.#names.queue(kind, recipient, type);
  }

  async #sendTo(entity: string, group: readonly Numbered[], outcomes: SendOutcome[]): Promise<void> {
    try {
      await this.#sendBatches(this.#sender(entity), group, outcomes);
    } catch (error) {
      if (!isBusy(error)) this.#forget(entity); // a link that has failed is not asked again
      if (entity === this.#names.topic || !isClosed(error)) throw error;
      // What went out before it was closed may be handled yet; nothing is sent twice.
      for (const { at } of group) if (outcomes[at] !== stored) outcomes[at] = unroutable;
    }
  }

  async #sendBatches(sender: AzureSender, group: readonly Numbered[], outcomes: SendOutcome[]): Promise<void> {
    let batch = await this.#batchFor(sender);
    let batched: { readonly at: number; readonly message: AzureMessage }[] = [];
    const flush = async (): Promise<void> => {
      if (batched.length === 0) return;
      try {
        await sender.sendMessages(batch);
        for (const { at } of batched) outcomes[at] = stored;
      } catch (error) {
        if (!isRefusal(error)) throw error;
        for (const one of batched) outcomes[one.at] = await sendAlone(sender, one.message);
      }
      batched = [];
    };
    for (const { at, message } of group) {
      const made = toAzure(message);
      if (!batch.tryAddMessage(made)) {
        if (batched.length > 0) {
          await flush();
          batch = await this.#batchFor(sender);
        }
        if (!batch.tryAddMessage(made)) {
          outcomes[at] = { kind: 'refused', reason: `larger than the ${batch.maxSizeInBytes} bytes that this namespace takes` };
          continue;
        }
      }
      batched.push({ at, message: made });
    }
    await flush();
  }

  /** Opens the link, where it is not; nothing is sent by that, so it may be left standing. Sends end by themselves. */
  async #batchFor(sender: AzureSender): Promise<AzureBatch> {
    const { clock, another } = this.#options;
    const opening = sender.createMessageBatch();
    if (!another) return opening; // it has times of its own
    const { ms } = this.#patience;
    const batch = await answerWithin(clock, ms, opening);
    if (batch) this.#patience.reset();
    else {
      this.#patience.double();
      throw new WaybillError('TRANSPORT_UNREACHABLE', `Azure Service Bus: a link was not opened within ${ms} ms`);
    }
    return batch;
  }

  #sender(entity: string): AzureSender {
    let sender = this.#senders.get(entity);
    if (sender) this.#senders.delete(entity); // put at the end: the one in front is the longest unused
    else sender = this.#client.createSender(entity);
    this.#senders.set(entity, sender);
    if (this.#senders.size > sendersMax) this.#forget(this.#senders.keys().next().value!);
    return sender;
  }

  #forget(entity: string): void {
    const sender = this.#senders.get(entity);
    this.#senders.delete(entity);
    sender?.close().catch(() => {});
  }

  async close(): Promise<void> {
    const { another, clock } = this.#options;
    if (another) await closeForGood(this.#client, clock);
    else await Promise.all([...this.#senders.values()].map((sender) => sender.close().catch(() => {})));
    this.#senders.clear();
  }
}

async function sendAlone(sender: AzureSender, message: AzureMessage): Promise<SendOutcome> {
  try {
    await sender.sendMessages(message);
    return stored;
  } catch (error) {
    if (!isRefusal(error) || isMissing(error)) throw error;
    return { kind: 'refused', reason: lastError(error).message };
  }
}
