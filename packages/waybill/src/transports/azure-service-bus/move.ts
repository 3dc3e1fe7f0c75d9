/** Takes everything from one entity into a queue, in order: received, sent on, then completed, so that nothing is lost. */
import { type Clock, sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { AzureClient, AzureMessage, AzureReceived, AzureReceiver, AzureSender } from './client.ts';
import { isLockLost, isNoSession } from './trouble.ts';

export interface Move {
  readonly client: AzureClient;
  readonly clock: Clock;
  readonly source: { readonly topic: string; readonly name: string; readonly sessions: boolean };
  /** Messages that are still there, at whomever. */
  left(): Promise<number>;
}

const batchMax = 100;
/** What instances of the old name hold comes back when their locks run out: nobody waits longer than for several of them. */
const waitMaxMs = 300_000;
const pollMs = 200;

export async function drainInto(target: string, { client, clock, source, left }: Move): Promise<void> {
  const sender = client.createSender(target);
  const options = { skipParsingBodyAsJson: true };
  const plain = source.sessions ? undefined : client.createReceiver(source.topic, source.name, options);
  const untilMs = clock.monotonic() + waitMaxMs;
  try {
    for (let remaining = await left(); remaining > 0; remaining = await left()) {
      const some = plain ? moveSome(plain, sender, remaining) : moveSession(client, source, sender, remaining);
      // A lock that ran out, or went with its link: what it was on comes again, and its copy twice rather than not at all.
      const moved = await some.catch((error: unknown) => (isLockLost(error) ? 0 : Promise.reject(error as Error)));
      if (moved > 0) continue;
      if (clock.monotonic() > untilMs) {
        throw new WaybillError('TRANSPORT_UNREACHABLE', `${remaining} messages of ${source.name} are held by instances of its old name; stop them`);
      }
      await sleep(clock, pollMs);
    }
  } finally {
    plain?.close().catch(() => {}); // not waited for: cut off at this moment, the SDK never ends it
    sender.close().catch(() => {});
  }
}

async function moveSession(client: AzureClient, source: Move['source'], sender: AzureSender, remaining: number): Promise<number> {
  try {
    const session = await client.acceptNextSession(source.topic, source.name, { skipParsingBodyAsJson: true });
    try {
      return await moveSome(session as unknown as AzureReceiver, sender, remaining);
    } finally {
      await session.close();
    }
  } catch (error) {
    if (isNoSession(error)) return 0;
    throw error;
  }
}

async function moveSome(receiver: AzureReceiver, sender: AzureSender, remaining: number): Promise<number> {
  const got = (await receiver.receiveMessages(Math.min(batchMax, remaining), { maxWaitTimeInMs: pollMs })) as AzureReceived[];
  for (const message of got) {
    await sender.sendMessages(copyOf(message));
    await receiver.completeMessage(message);
  }
  return got.length;
}

function copyOf({ body, messageId, contentType, subject, sessionId, applicationProperties }: AzureReceived): AzureMessage {
  return {
    body,
    ...(messageId !== undefined && { messageId: String(messageId) }),
    ...(contentType !== undefined && { contentType }),
    ...(subject !== undefined && { subject }),
    ...(sessionId !== undefined && { sessionId }),
    applicationProperties: { ...applicationProperties } as NonNullable<AzureMessage['applicationProperties']>,
  };
}
