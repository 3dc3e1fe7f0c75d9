/**
 * What Azure's own dead-letter queues hold of the places that are received from: messages that nobody finished in hundreds of
 * deliveries, and those of other senders that name no session where one is required. Looked at, left where they are.
 */
import type { Finding } from '../../contract/doctor.ts';
import type { AzureClient, AzureReceived } from './client.ts';
import { type Place, told } from './settings.ts';
import { isMissing } from './trouble.ts';
import { fromAzure } from './wire.ts';

const lookedAtMax = 100;
const shownMax = 5;

export async function examine(place: Place, subscription: string, client: AzureClient): Promise<Finding[]> {
  const { topic, name } = place;
  const options = { subQueueType: 'deadLetter', skipParsingBodyAsJson: true } as const;
  const receiver = topic === undefined ? client.createReceiver(name, options) : client.createReceiver(topic, name, options);
  const where = told(place);
  try {
    const found = await peekFromTheFirst((max, from) => receiver.peekMessages(max, from));
    if (found.length === 0) return [];
    const many = found.length < lookedAtMax ? found.length : `${lookedAtMax} or more`;
    return [
      {
        code: 'DEAD_LETTERED_BY_BROKER',
        severity: 'warning',
        message: `${subscription}: Azure's dead-letter queue of ${where} holds ${many}: ${found.slice(0, shownMax).map(shown).join('; ')}`,
        next: 'Look at why (Service Bus Explorer in the portal), and resubmit or delete them there; Waybill receives nothing from it.',
      },
    ];
  } catch (error) {
    if (!isMissing(error)) throw error;
    return [{ code: 'QUEUE_MISSING', severity: 'unsafe', message: `${subscription}: ${where} is not there`, next: 'Start a bus that may manage the namespace; it is made again, and what was in it is gone: see `audit`.' }];
  } finally {
    receiver.close().catch(() => {});
  }
}

type Peek = (max: number, options?: { fromSequenceNumber?: unknown }) => Promise<readonly AzureReceived[]>;

/** The SDK goes on where the last look at this queue ended, unless it is given a number of its own kind. */
async function peekFromTheFirst(peek: Peek): Promise<readonly AzureReceived[]> {
  const { zero } = known;
  const found = zero === undefined ? await peek(lookedAtMax) : await peek(lookedAtMax, { fromSequenceNumber: zero });
  const number = found[0]?.sequenceNumber;
  known.zero ??= number?.subtract(number);
  return found;
}

/** Its zero, once a message has shown of what kind its numbers are: they come from a package that only the SDK has. */
const known: { zero: unknown } = { zero: undefined };

function shown(message: AzureReceived): string {
  const { headers } = fromAzure(message);
  return `${headers['ce-type'] ?? message.subject ?? 'no type'} ${headers['ce-id'] ?? String(message.messageId ?? '')} (${message.deadLetterReason ?? 'no reason'}, delivered ${message.deliveryCount ?? 0} times)`;
}
