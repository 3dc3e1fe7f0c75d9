/**
 * The SQLite transport: a directory in which each service has one file, its ledger, that the others read.
 *
 * In come a service's messages, as rows that its own transaction commits to its ledger (or, where it stores elsewhere,
 * that `send` appends). Out come, to each subscription, the rows of all ledgers that it takes, in the order of each.
 * Guaranteed: the commit of a row is its publish; each row reaches each subscription at least once and in its ledger's
 * order; where the service's store is its ledger, position, inbox row and effect are one commit, under a lease that one
 * instance holds.
 * A crash leaves: before the commit nothing; after it, before the hint, a row that the next poll finds; while a handler
 * runs, nothing but a lease whose owner is dead, and what was in flight comes again, marked as suspect; after the
 * handler's commit, nothing to be done.
 *
 * Cost per message: its share of one read per subscription and batch (4 µs, and 0.1 ms per 2,000 rows of other types);
 * of two statements in the batch's transaction (fence, position); no fsync of its own. A poll each 250 ms and ledger
 * and a renewal (one fsync) each second are all that happens at rest.
 *
 *     index          the factory and its session           directory   which files are ledgers, and which have grown
 *     home           this service's own file               ledger      one of them, opened for reading
 *     subscriptions  what is declared, and its end         hints       wake-ups between processes
 *     beginning      where a new subscription starts       consumer    deliveries out, positions in
 *     positions      how far each has come                 source      one ledger for one subscription: the anchored cursor
 *     lease, owner   who works on a subscription           open-rows   what is read and not settled
 *     routes         whether a command is taken            wanted      what a subscription takes
 *     replies        what comes back to this instance      addresses   who waits for replies
 *     topology       what is declared, told beforehand
 */
import { sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { History } from '../../contract/history.ts';
import type { WireMessage } from '../../contract/message.ts';
import type {
  Consumer,
  Declaration,
  Delivery,
  LedgerAccess,
  ReplyInbox,
  SendOutcome,
  Transport,
  TransportHost,
  TransportSession,
} from '../../contract/transport.ts';
import { announce, withdraw } from './addresses.ts';
import { beginningOf } from './beginning.ts';
import { SqliteConsumer } from './consumer.ts';
import { enterDirectory, type Directory, type DirectoryListener } from './directory.ts';
import { createPoker, type Poker } from './hints.ts';
import { createHistory } from './history.ts';
import { openHome, type Home } from './home.ts';
import { createLeases, type Leases } from './lease.ts';
import type { Ledger } from './ledger.ts';
import { isServiceName, replyAddress } from './names.ts';
import { createOwner } from './owner.ts';
import { prepareDirectory } from './place.ts';
import { createReplies, type Replies } from './replies.ts';
import { createRoutes, takesEvents } from './routes.ts';
import { topologyIn } from './topology.ts';
import { declareSubscription, deleteSubscription, exists, stopSubscription } from './subscriptions.ts';

export { LeaseLost } from './lease-lost.ts';

/** How long `remove` waits for what is queued to be applied. */
const removeWaitMs = 30_000;
const removeLookMs = 50;

/**
 * A directory as transport, for the services of one machine.
 * @param directory path, from the working directory; made when it is missing. On a local disk
 * @throws WaybillError `INVALID_OPTION` when `directory` is no path
 */
export function sqlite(directory: string): Transport {
  if (typeof directory !== 'string' || directory.trim() === '' || directory.includes('\0')) {
    throw new WaybillError('INVALID_OPTION', 'sqlite(directory) takes the path of a directory.');
  }
  return { kind: 'sqlite', needsStore: true, topology: topologyIn(directory), connect: (host) => connect(directory, host) };
}

async function connect(path: string, host: TransportHost): Promise<TransportSession> {
  if (!isServiceName(host.service)) {
    throw new WaybillError(
      'INVALID_OPTION',
      `service '${host.service}' cannot name a ledger: use lower-case letters, digits and dashes, a letter first, at most 63`,
    );
  }
  const real = prepareDirectory(path, host.logger);
  return new Session(host, await openHome(real, host), enterDirectory(real, host.clock));
}

class Session implements TransportSession, DirectoryListener {
  readonly capabilities: { readonly publishesAtCommit: boolean; readonly exclusive: boolean; readonly startsInPast: true };
  readonly history: History;
  readonly ledger?: LedgerAccess;
  readonly #host: TransportHost;
  readonly #home: Home;
  readonly #directory: Directory;
  readonly #poker: Poker;
  readonly #owner = createOwner();
  readonly #leases: Leases;
  readonly #routes: (message: WireMessage) => boolean;
  readonly #consumers = new Map<string, SqliteConsumer>();
  readonly #replies = new Set<Replies>();
  #unfollow: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(host: TransportHost, home: Home, directory: Directory) {
    const { clock, service, signals } = host;
    this.#host = host;
    this.#home = home;
    this.#directory = directory;
    // The lease is in the same file: no transaction of who has lost it commits.
    this.capabilities = { publishesAtCommit: home.isStore, exclusive: home.isStore, startsInPast: true };
    this.history = createHistory(directory, clock);
    this.#poker = createPoker(directory.path, service, clock);
    this.#leases = createLeases({
      database: home.database,
      owner: this.#owner,
      clock,
      trouble: (error) => signals.emit('trouble', { where: 'the leases of its subscriptions', error }),
    });
    this.#routes = createRoutes(directory, clock);
    if (home.isStore) this.ledger = { routes: this.#routes, hint: () => this.#hint() };
    this.#poker.poke(); // whoever does not know this ledger yet opens it now
  }

  async declare(declaration: Declaration): Promise<void> {
    this.#assertOpen();
    this.#directory.scan();
    const { clock } = this.#host;
    const { database } = this.#home;
    const isKnown = await database.read((statements) => exists(statements, declaration.name));
    const places = isKnown ? () => [] : await beginningOf(declaration.from, this.#directory, clock);
    await database.write(({ statements }) => {
      declareSubscription(statements, declaration, { nowMs: Math.floor(clock.now()), places });
    });
    this.#consumers.get(declaration.name)?.revised();
  }

  async send(messages: readonly WireMessage[]): Promise<readonly SendOutcome[]> {
    this.#assertOpen();
    const outcomes = messages.map((message): SendOutcome => ({ kind: this.#routes(message) ? 'stored' : 'unroutable' }));
    const taken = messages.filter((_, at) => outcomes[at]?.kind === 'stored');
    if (taken.length > 0) {
      await this.#home.append(taken);
      this.#hint();
    }
    return outcomes;
  }

  isTaken(type: string): boolean {
    this.#directory.scan(); // a ledger that this process has not seen yet may take it
    return takesEvents(this.#directory, type, this.#host.clock);
  }

  async consume({ name }: Declaration): Promise<Consumer> {
    this.#assertOpen();
    return this.#consume(name);
  }

  async #consume(name: string): Promise<SqliteConsumer> {
    if (this.#consumers.has(name)) {
      throw new WaybillError('DUPLICATE_SUBSCRIPTION', `'${name}' is consumed already by this bus`);
    }
    const { clock, service, signals, store } = this.#host;
    const consumer = new SqliteConsumer(name, {
      clock,
      service,
      signals,
      store,
      home: this.#home,
      directory: this.#directory,
      leases: this.#leases,
      closed: () => {
        this.#consumers.delete(name);
        this.#followOrNot();
      },
    });
    this.#consumers.set(name, consumer);
    this.#followOrNot();
    await this.#leases.join(consumer);
    return consumer;
  }

  async listen(deliver: (delivery: Delivery) => void): Promise<ReplyInbox> {
    this.#assertOpen();
    const { clock, service, signals } = this.#host;
    const directory = this.#directory;
    directory.scan();
    const address = replyAddress(service, clock.id());
    announce(directory.path, address, this.#owner);
    const replies = createReplies({
      address,
      directory,
      deliver,
      turn: () => clock.turn(),
      trouble: (error) => signals.emit('trouble', { where: 'taking a reply', error }),
    });
    this.#replies.add(replies);
    this.#followOrNot();
    return {
      address,
      close: () => {
        this.#closeReplies(replies);
        return Promise.resolve();
      },
    };
  }

  #closeReplies(replies: Replies): void {
    if (!this.#replies.delete(replies)) return;
    replies.close();
    withdraw(this.#directory.path, replies.address);
    this.#followOrNot();
  }

  async remove(name: string, queued: 'apply' | 'drop'): Promise<void> {
    this.#assertOpen();
    const { database } = this.#home;
    const consumer = this.#consumers.get(name);
    if (queued === 'drop') {
      await database.write(({ statements }) => deleteSubscription(statements, name));
      if (consumer !== undefined) this.#leases.lose(consumer);
      return;
    }
    const nowMs = Math.floor(this.#host.clock.now());
    if (!(await database.write(({ statements }) => stopSubscription(statements, name, nowMs)))) return;
    consumer?.revised();
    await this.#waitUntilGone(name);
  }

  /** Whoever holds the lease removes it when all is applied; where nobody consumes it, this bus looks whether all is. */
  async #waitUntilGone(name: string): Promise<void> {
    const { clock } = this.#host;
    const untilMs = clock.monotonic() + removeWaitMs;
    const never = new AbortController().signal;
    let own = this.#consumers.has(name) ? undefined : await this.#consume(name);
    try {
      while (await this.#home.database.read((statements) => exists(statements, name))) {
        if (clock.monotonic() > untilMs) throw stillQueued(name);
        const rows = own === undefined ? [] : await own.receive(1, { waitMs: 0, signal: never });
        if (rows.length > 0) {
          // Nothing here applies it: whoever can may have it.
          own?.release(rows);
          await own?.close();
          own = undefined;
        }
        await this.#consumers.get(name)?.end();
        await sleep(clock, removeLookMs);
      }
    } finally {
      await own?.close();
    }
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#consumers.values()].map((consumer) => consumer.close()));
    for (const replies of this.#replies) this.#closeReplies(replies);
    await this.#leases.close();
    this.#unfollow?.();
    this.#directory.leave();
    this.#poker.close();
    await this.#home.close();
  }

  // What the directory says.

  opened(ledger: Ledger): void {
    for (const consumer of this.#consumers.values()) consumer.opened(ledger);
    for (const replies of this.#replies) replies.opened(ledger);
  }

  moved(ledger: Ledger): void {
    for (const consumer of this.#consumers.values()) consumer.moved(ledger);
    for (const replies of this.#replies) replies.moved(ledger);
  }

  closed(ledger: Ledger): void {
    for (const consumer of this.#consumers.values()) consumer.closed(ledger);
  }

  refused(source: string, error: WaybillError): void {
    this.#host.signals.emit('ledger', { source, error });
  }

  /** Rows were committed to this service's ledger. */
  #hint(): void {
    this.#poker.poke();
    this.#directory.hint(this.#host.service);
  }

  /** Who only publishes neither watches nor polls, and holds no process open. */
  #followOrNot(): void {
    const isWanted = this.#consumers.size > 0 || this.#replies.size > 0;
    if (isWanted) this.#unfollow ??= this.#directory.follow(this);
    else {
      this.#unfollow?.();
      this.#unfollow = undefined;
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new WaybillError('STOPPED', 'the transport was closed: the bus was stopped');
  }
}

function stillQueued(name: string): WaybillError {
  return new WaybillError(
    'STORE_BUSY',
    `'${name}' takes nothing new, but still has messages to apply after ${removeWaitMs / 1_000} s; whichever instance handles it removes it when they are. Wait on by calling it again, or drop them`,
  );
}
