/**
 * The links to an entity without sessions. Credit is given for what is asked for, and what is in hand counts: an instance
 * locks no more than it works on, and leaves the rest to the others. Locks of what it holds are renewed for as long as
 * it holds it. They outlive their link: after a reconnect they are settled over the management link.
 */
import type { Clock } from '../../contract/clock.ts';
import type { AzureClient, AzureReceived, AzureReceiver } from './client.ts';
import type { Clients } from './clients.ts';
import type { Held, Sink, Source } from './held.ts';
import { makeDrainSafe } from './safe-drain.ts';
import type { Place } from './topology.ts';
import { isLockLost, isMissing } from './trouble.ts';
import { answerWithin, type Watch, watch } from './watch.ts';

/** Messages in hand, at most: what four hundred renewals a second would keep, at 15 seconds each, is far above. */
export const creditMax = 2_000;
const options = { receiveMode: 'peekLock', skipParsingBodyAsJson: true, maxAutoLockRenewalDurationInMs: 0 } as const;
/** What Azure lets a lock be, at most. */
const lockMaxMs = 300_000;

/** More are not looked at to find one that is not ours. */
const peekMax = 100;

interface Link {
  readonly receiver: AzureReceiver;
  readonly stop: () => Promise<void>;
}

export interface LinksOptions {
  readonly clients: Clients;
  readonly sink: Sink;
  readonly clock: Clock;
  /** Links that bring nothing for so long are asked after. */
  readonly silentMs: number;
}

export class Links implements Source {
  readonly kind: Place['kind'];
  readonly holds = true;
  readonly #place: Place;
  readonly #options: LinksOptions;
  readonly #sink: Sink;
  readonly #clock: Clock;
  #client: AzureClient;
  /** Settles and renews, whatever becomes of the links. */
  #settler: AzureReceiver;
  readonly #links = new Set<Link>();
  /** Given to the links that are open, and how much of it is in hand. */
  #account = { credit: 0, inHand: 0 };
  #watch: Watch | undefined;
  #closed = false;
  readonly #renewals = new Map<Held, () => void>();

  constructor(place: Place, options: LinksOptions) {
    this.kind = place.kind;
    this.#place = place;
    this.#options = options;
    this.#sink = options.sink;
    this.#clock = options.clock;
    this.#client = options.clients.take();
    this.#settler = this.#receiver();
  }

  #receiver(): AzureReceiver {
    const { topic, name } = this.#place;
    return topic === undefined ? this.#client.createReceiver(name, options) : this.#client.createReceiver(topic, name, options);
  }

  /** Somebody waits for up to `max`. */
  want(max: number): void {
    const { credit, inHand } = this.#account;
    if (this.#closed || credit > inHand) return;
    const more = Math.min(max, creditMax - credit);
    if (more <= 0) return;
    this.#account.credit += more;
    this.#open(more);
  }

  /** The SDK reconnects this by itself and tells only of what it could not mend; where it stands still, the watch finds it. */
  #open(credit: number): void {
    const receiver = this.#receiver();
    const account = this.#account;
    const subscription = receiver.subscribe(
      {
        processMessage: (message) => this.#take(message, account),
        processError: async ({ error, errorSource }) => {
          if (this.#links.has(link) && (errorSource === 'receive' || errorSource === 'internal')) this.#trouble(error);
        },
      },
      { autoCompleteMessages: false, maxConcurrentCalls: credit },
    );
    makeDrainSafe(receiver, this.#clock);
    const link = { receiver, stop: () => subscription.close() };
    this.#links.add(link);
    this.#watch ??= watch({ clock: this.#clock, silentMs: this.#options.silentMs, missed: () => this.#missed(), stuck: (what) => this.#restart(what) });
  }

  /** Others may hold it; then opening a link in vain is all that it costs. */
  async #missed(): Promise<boolean> {
    if (this.#account.credit <= this.#account.inHand) return false;
    const ours = new Set([...this.#renewals.keys()].map(({ message }) => String(message.sequenceNumber)));
    const found = await this.#settler.peekMessages(Math.min(ours.size + 1, peekMax));
    return found.some(({ sequenceNumber }) => !ours.has(String(sequenceNumber)));
  }

  #restart(what: 'link' | 'client'): void {
    void this.#stopLinks();
    if (what === 'client') {
      const { clients } = this.#options;
      const old = this.#client;
      const settler = this.#settler;
      clients.replace(old);
      this.#client = clients.take();
      this.#settler = this.#receiver();
      settler.close().catch(() => {});
      clients.leave(old);
    }
    this.#sink.anew();
  }

  #take(message: AzureReceived, account: { inHand: number }): Promise<void> {
    // Every message of ours names a session. Here it means nothing, but the SDK would refuse to settle it once its link is gone.
    (message as { sessionId?: string | undefined }).sessionId = undefined;
    this.#watch?.heard();
    return new Promise((resolve) => {
      account.inHand++;
      this.#sink.arrived(this, message, false, () => {
        account.inHand--;
        resolve();
      });
    });
  }

  #trouble(error: unknown): void {
    if (this.#closed) return;
    void this.stop();
    if (isMissing(error)) this.#sink.gone();
    else this.#sink.broken(error);
  }

  /** Takes nothing more; what is in hand stays. The next `want` begins anew. */
  async stop(): Promise<void> {
    this.#watch?.end();
    this.#watch = undefined;
    await this.#stopLinks();
  }

  async #stopLinks(): Promise<void> {
    const links = [...this.#links];
    this.#links.clear();
    this.#account = { credit: 0, inHand: 0 };
    const closed = links.map(async ({ stop, receiver }) => {
      await stop().catch(() => {});
      await receiver.close().catch(() => {});
    });
    await answerWithin(this.#clock, this.#options.silentMs, Promise.all(closed)); // the SDK may never end it
  }

  // --- locks ------------------------------------------------------------------------------------------------------------

  /** Renews its lock at half time, until it is no longer held. */
  keep(held: Held): void {
    const leftMs = Math.min(Math.max(1_000, (held.message.lockedUntilUtc?.getTime() ?? 0) - this.#clock.now()), lockMaxMs);
    this.#renewals.set(held, this.#clock.after(leftMs / 2, () => void this.#renew(held)));
  }

  async #renew(held: Held): Promise<void> {
    if (held.state === 'done' || held.state === 'lost') return;
    try {
      await this.#settler.renewMessageLock(held.message); // which also sets its `lockedUntilUtc`
    } catch (error) {
      if (isLockLost(error)) {
        held.free();
        held.state = 'lost';
        this.#renewals.delete(held);
        return;
      }
    }
    if (!this.#closed && (held.state === 'buffered' || held.state === 'given')) this.keep(held);
  }

  #drop(held: Held): void {
    this.#renewals.get(held)?.();
    this.#renewals.delete(held);
  }

  async complete(held: Held): Promise<void> {
    this.#drop(held);
    await this.#settler.completeMessage(held.message);
  }

  async abandon(held: Held, changes: { [name: string]: number } | undefined): Promise<void> {
    this.#drop(held);
    await this.#settler.abandonMessage(held.message, changes);
  }

  async quiet(): Promise<void> {}

  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of this.#renewals.values()) cancel();
    this.#renewals.clear();
    await this.stop();
    await this.#settler.close().catch(() => {});
    this.#options.clients.leave(this.#client);
  }
}
