import type { AzureClient } from './client.ts';

/**
 * The client that receiving goes over. After a cut the SDK can stand still for a minute (it waits for the answer to a token
 * or an attach that it sent over the old connection); then the next client takes the place of this one. What was replaced
 * is closed once nobody has it in use.
 */
export class Clients {
  readonly #make: (() => AzureClient) | undefined;
  #current: AzureClient;
  readonly #uses = new Map<AzureClient, number>();

  /** @param make the next client; without it the first one is the user's: never replaced, never closed */
  constructor(first: AzureClient, make: (() => AzureClient) | undefined) {
    this.#current = first;
    this.#make = make;
  }

  get current(): AzureClient {
    return this.#current;
  }

  /** To be followed by one `leave`. */
  take(client: AzureClient = this.#current): AzureClient {
    this.#uses.set(client, (this.#uses.get(client) ?? 0) + 1);
    return client;
  }

  leave(client: AzureClient): void {
    const left = (this.#uses.get(client) ?? 1) - 1;
    if (left > 0) this.#uses.set(client, left);
    else this.#uses.delete(client);
    this.#closeUnused(client);
  }

  /** This one stands still; if another user has said so already, nothing happens. */
  replace(client: AzureClient): void {
    if (!this.#make || client !== this.#current) return;
    this.#current = this.#make();
    this.#closeUnused(client);
  }

  #closeUnused(client: AzureClient): void {
    if (client !== this.#current && !this.#uses.has(client)) client.close().catch(() => {});
  }

  async close(): Promise<void> {
    if (!this.#make) return;
    await Promise.all([...new Set([this.#current, ...this.#uses.keys()])].map((client) => client.close().catch(() => {})));
  }
}
