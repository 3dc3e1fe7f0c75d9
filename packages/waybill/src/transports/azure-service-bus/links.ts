/**
 * The links to an entity without sessions. Credit is given for what is asked for, and what is in hand counts: an instance
 * locks no more than it finishes in time (`Holding`), and leaves the rest to the others. Locks of what it holds are renewed for as long as
 * it holds it. They outlive their link: after a reconnect they are settled over the management link.
 */
import type { Clock } from '../../contract/clock.ts';
import type { AzureClient, AzureReceived, AzureReceiver } from './client.ts';
import type { Clients } from './clients.ts';
import type { Held, Sink, Source } from './held.ts';
import { Holding } from './holding.ts';
import { makeDrainSafe } from './safe-drain.ts';
import { renewAfterMs, renewAgainMs } from './renewal.ts';
import type { Place } from './settings.ts';
import { isLockLost, isMissing } from './trouble.ts';
import { answerWithin, type Watch, watch } from './watch.ts';

const options = { receiveMode: 'peekLock', skipParsingBodyAsJson: true, maxAutoLockRenewalDurationInMs: 0 } as const;
/** More are not looked at to find one that is not ours. */
const peekMax = 100;

interface Link {
  readonly receiver: AzureReceiver;
  readonly stop: () => Promise<void>;
}

/** What was given to the links that are open, and how much of it is in hand. */
interface Account {
  credit: number;
  inHand: number;
  /** Credit that was taken back: each gives one message's worth again. */
  readonly spare: (() => void)[];
}

const account = (): Account => ({ credit: 0, inHand: 0, spare: [] });

export interface LinksOptions {
  readonly clients: Clients;
  readonly sink: Sink;
  readonly clock: Clock;
  /** Links that bring nothing for so long are asked after. */
  readonly silentMs: number;
  /** How long a lock is made to last. */
  readonly lockMs: number;
  /** Messages that are worked on at the same time. */
  readonly concurrency: number;
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
  readonly #holding: Holding;
  #account = account();
  #acknowledging = 0;
  #watch: Watch | undefined;
  #closed = false;
  readonly #renewals = new Map<Held, () => void>();

  constructor(place: Place, options: LinksOptions) {
    this.kind = place.kind;
    this.#place = place;
    this.#options = options;
    this.#sink = options.sink;
    this.#clock = options.clock;
    this.#holding = new Holding(options);
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
    const more = Math.min(max, this.#holding.size - credit);
    if (more <= 0) return;
    this.#account.credit += more;
    const again = this.#account.spare.splice(0, more);
    for (const give of again) give();
    if (more > again.length) this.#open(more - again.length);
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

  #take(message: AzureReceived, account: Account): Promise<void> {
    // Every message of ours names a session. Here it means nothing, but the SDK would refuse to settle it once its link is gone.
    (message as { sessionId?: string | undefined }).sessionId = undefined;
    this.#watch?.heard();
    return new Promise((resolve) => {
      account.inHand++;
      this.#sink.arrived(this, message, false, () => {
        account.inHand--;
        if (account.credit <= this.#holding.size) return resolve(); // which gives credit for another one
        account.credit--;
        account.spare.push(resolve);
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
    this.#account = account();
    const closed = links.map(async ({ stop, receiver }) => {
      await stop().catch(() => {});
      await receiver.close().catch(() => {});
    });
    await answerWithin(this.#clock, this.#options.silentMs, Promise.all(closed)); // the SDK may never end it
  }

  // --- locks ------------------------------------------------------------------------------------------------------------

  /** Renews its lock, until it is no longer held. */
  keep(held: Held): void {
    const { lockMs } = this.#options;
    this.#renewAfter(renewAfterMs(held.message.lockedUntilUtc, this.#clock.now(), lockMs), held);
  }

  #renewAfter(ms: number, held: Held): void {
    this.#renewals.set(held, this.#clock.after(ms, () => void this.#renew(held)));
  }

  async #renew(held: Held): Promise<void> {
    if (held.state === 'done' || held.state === 'lost') return;
    let failed = false;
    try {
      await this.#settler.renewMessageLock(held.message); // which also sets its `lockedUntilUtc`
    } catch (error) {
      if (isLockLost(error)) {
        this.#finished(held);
        held.free();
        held.state = 'lost';
        this.#renewals.delete(held);
        return;
      }
      failed = true;
    }
    if (this.#closed || (held.state !== 'buffered' && held.state !== 'given')) return;
    if (failed) this.#renewAfter(renewAgainMs(this.#options.lockMs), held);
    else this.keep(held);
  }

  #drop(held: Held): void {
    this.#renewals.get(held)?.();
    this.#renewals.delete(held);
  }

  async complete(held: Held): Promise<void> {
    this.#drop(held);
    this.#acknowledging++;
    try {
      await this.#settler.completeMessage(held.message);
    } finally {
      this.#finished(held);
      this.#acknowledging--;
    }
  }

  /** With its acknowledgement, or its lock: what takes long may be the broker. */
  #finished({ sinceMs }: Held): void {
    this.#holding.finished(this.#clock.monotonic() - sinceMs, this.#account.inHand + this.#acknowledging);
  }

  get isBehind(): boolean {
    return this.#acknowledging > this.#holding.size;
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
