import type { AmqpMessage } from './client.ts';

/** More than all prefetches of a process together. */
const rememberedMax = 20_000;

/**
 * What this process had in hand when it lost or left a reader. The broker marks it as redelivered; but this process lives,
 * so it did not die of it, and the message is under no suspicion when it comes again here.
 */
export class Recollection {
  readonly #known = new Map<string, number>();

  remember(messages: readonly AmqpMessage[]): void {
    for (const message of messages) this.#known.set(identityOf(message), (this.#known.get(identityOf(message)) ?? 0) + 1);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= rememberedMax) return;
      this.#known.delete(oldest);
    }
  }

  /** True once for each time it was remembered. */
  knows(message: AmqpMessage): boolean {
    const identity = identityOf(message);
    const times = this.#known.get(identity);
    if (times === undefined) return false;
    if (times > 1) this.#known.set(identity, times - 1);
    else this.#known.delete(identity);
    return true;
  }
}

function identityOf({ properties: { appId, messageId, type } }: AmqpMessage): string {
  return `${String(appId)} ${String(messageId)} ${String(type)}`;
}
