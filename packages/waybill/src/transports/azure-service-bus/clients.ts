import type { Clock } from '../../contract/clock.ts';
import type { AzureClient } from './client.ts';
import { answerWithin } from './watch.ts';

/** The SDK closes link after link, and may wait for one of them for ever. */
const closeMaxMs = 5_000;

/** What of the SDK's client holds its connection. */
interface WithConnection {
  readonly _connectionContext?: { wasConnectionCloseCalled: boolean; readonly connection?: { close(): Promise<void> } };
}

/**
 * Closes a client that may stand still: where the SDK does not come to an end (a link that was cut off while it was closed is
 * waited for without limit), its connection is closed as the SDK would do last. That reaches into the SDK; where it is of
 * another shape, the connection stays until the process ends.
 */
export async function closeForGood(client: AzureClient, clock: Clock): Promise<void> {
  const closed = client.close().then(() => true, () => false);
  if (await answerWithin(clock, closeMaxMs, closed)) return;
  const context = (client as WithConnection)._connectionContext;
  if (!context?.connection) return;
  context.wasConnectionCloseCalled = true; // or it is opened again
  await answerWithin(clock, closeMaxMs, context.connection.close().catch(() => {}));
}

/**
 * The client that receiving goes over. After a cut the SDK can stand still for a minute (it waits for the answer to a token
 * or an attach that it sent over the old connection); then the next client takes the place of this one. What was replaced
 * is closed once nobody has it in use.
 */
export class Clients {
  readonly #make: (() => AzureClient) | undefined;
  readonly #clock: Clock;
  #current: AzureClient;
  readonly #uses = new Map<AzureClient, number>();

  /** @param make the next client; without it the first one is the user's: never replaced, never closed */
  constructor(first: AzureClient, make: (() => AzureClient) | undefined, clock: Clock) {
    this.#clock = clock;
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
    if (client !== this.#current && !this.#uses.has(client)) void closeForGood(client, this.#clock);
  }

  async close(): Promise<void> {
    if (!this.#make) return;
    await Promise.all([...new Set([this.#current, ...this.#uses.keys()])].map((client) => closeForGood(client, this.#clock)));
  }
}
