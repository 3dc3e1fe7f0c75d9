/** Messages as they go over links: batches taken apart, Azure's annotations put on. */
import rhea, { type Message } from 'rhea';
import type { Stored } from './entity.ts';

const { types, message: codec } = rhea;

/** rhea hands over the raw bytes when the format is not 0; 0x80013700 is a batch: one data section per encoded message. */
export function messagesIn(received: Message | Buffer): Message[] {
  if (!Buffer.isBuffer(received)) return [received];
  const { body } = codec.decode(received);
  const sections: Buffer[] = body.multiple ? body.content : [body.content];
  return sections.map((section) => decode(section));
}

export function decode(bytes: Buffer): Message {
  return codec.decode(bytes) as unknown as Message;
}

export function encode(message: Message): Buffer {
  return codec.encode(message);
}

const states = { active: 0, deferred: 1, scheduled: 2 };

export function annotated({ message, seq, enqueuedMs, state, count, lock, deadLetterSource }: Stored): Message {
  const annotations: Record<string, unknown> = {
    ...message.message_annotations,
    'x-opt-sequence-number': types.wrap_long(seq),
    'x-opt-enqueued-time': types.wrap_timestamp(enqueuedMs),
    'x-opt-message-state': types.wrap_int(states[state]),
  };
  if (lock) annotations['x-opt-locked-until'] = types.wrap_timestamp(lock.untilMs);
  if (deadLetterSource !== undefined) annotations['x-opt-deadletter-source'] = deadLetterSource;
  return { ...message, message_annotations: annotations as never, delivery_count: count };
}
