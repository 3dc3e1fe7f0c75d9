/**
 * The AMQP 1.0 side: links to topics and queues, `$cbs` and `$management`. What `rhea` makes hard, and the SDK expects:
 * a drain must be answered within 200 ms; a settlement is a handshake, in which the receiver of the message settles first.
 */
import type { Server } from 'node:net';
import rhea, { type Connection, type Container, type Delivery, type EventContext, type Message, type Receiver, type Sender } from 'rhea';
import { AmqpError, conditionOf, statusOf } from './amqp-error.ts';
import { Claims, type TokenCheck } from './claims.ts';
import type { Entity, Stored, Taker } from './entity.ts';
import type { Faults, Step } from './faults.ts';
import { manage } from './management.ts';
import type { Namespace } from './namespace.ts';
import { tagOf } from './tokens.ts';
import { annotated, messagesIn } from './wire.ts';

const { types, message: codec } = rhea;
const sessionFilter = 'com.microsoft:session-filter';
/** How long a receiver waits for a session that is free, if it does not say. */
const acceptMs = 65_000;

export interface ConnectionsOptions {
  readonly namespace: Namespace;
  readonly faults: Faults;
  readonly messageBytesMax: number;
  /** Without one every token is good, and for ever. */
  readonly checkToken: TokenCheck | undefined;
}

export class Connections {
  readonly container: Container;
  readonly #options: ConnectionsOptions;
  readonly #open = new Set<Connection>();
  readonly #ever = new Set<Connection>();
  /** Where answers go: by connection, the links that receive them. */
  readonly #answers = new WeakMap<Connection, Map<string, Sender>>();
  readonly #links = new Map<Sender | Receiver, string>();
  readonly #claims: Claims | undefined;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    const { checkToken } = options;
    this.#claims = checkToken && new Claims(checkToken, (connection, path) => this.#expired(connection, path));
    this.container = rhea.create_container({ id: 'azure-stand-in' });
    const mechanisms = (this.container as any).sasl_server_mechanisms;
    mechanisms.enable_anonymous();
    mechanisms.enable_plain(() => true);
    mechanisms.MSSBCBS ??= mechanisms.ANONYMOUS; // what the SDK asks for with a TokenCredential
    this.container.on('connection_open', ({ connection }: EventContext) => {
      this.#open.add(connection);
      this.#ever.add(connection);
      connection.setMaxListeners(0); // one for each of its links
      (connection as any).socket?.setNoDelay(true);
    });
    for (const event of ['connection_close', 'disconnected']) {
      this.container.on(event, ({ connection }: EventContext) => {
        this.#open.delete(connection);
        stopHeart(connection);
      });
    }
    this.container.on('receiver_open', (context: EventContext) => this.#incoming(context));
    this.container.on('sender_open', (context: EventContext) => this.#outgoing(context));
    // Links and connections end in every way while tests cut them: nothing to do about it.
    for (const event of ['connection_error', 'protocol_error', 'session_error', 'receiver_error', 'sender_error', 'error']) {
      this.container.on(event, () => {});
    }
  }

  listen(port: number): Server {
    return this.container.listen({
      port,
      host: '127.0.0.1',
      // Otherwise abandoning and deferring is told twice.
      treat_modified_as_released: false,
      autoaccept: false,
      max_frame_size: 65_536,
    } as never);
  }

  /** Cuts every connection without a goodbye. */
  cut(): void {
    for (const connection of this.#open) sever(connection);
    this.#open.clear();
  }

  close(): void {
    this.cut();
    setImmediate(() => this.#ever.forEach(stopHeart)); // a link that closed just now has started it again
  }

  /** What Azure does when a token has expired: every link is detached. */
  expireTokens(): void {
    for (const link of this.#links.keys()) this.#refuse(link, new AmqpError('amqp:unauthorized-access', 'ExpiredToken: the token is expired.'));
  }

  #expired(connection: Connection, path: string): void {
    for (const [link, address] of this.#links) {
      if (link.connection !== connection || pathOf(address) !== path) continue;
      this.#options.faults.expired();
      this.#refuse(link, new AmqpError('amqp:unauthorized-access', `ExpiredToken: the token for ${path} is expired.`));
    }
  }

  /** Nobody opens a link without having shown a token for what it is to. */
  #allowed(link: Sender | Receiver, address: string): boolean {
    if (!this.#claims || this.#claims.has(link.connection, pathOf(address))) return true;
    if (link.is_sender()) link.set_source({ address } as never);
    this.#refuse(link, new AmqpError('amqp:unauthorized-access', `Unauthorized access to '${address}': there is no token for it.`));
    return false;
  }

  /** True when the test wants this connection cut here; then nothing more may be done on it. */
  #cutAt(step: Step, connection: Connection): boolean {
    if (!this.#options.faults.cutAt(step)) return false;
    sever(connection);
    return true;
  }

  #refuse(link: Sender | Receiver, error: unknown): void {
    this.#links.delete(link);
    link.close({ condition: conditionOf(error), description: error instanceof Error ? error.message : String(error) });
  }

  // --- what clients send ------------------------------------------------------------------------------------------------

  #incoming({ receiver, connection }: EventContext): void {
    const link = receiver!;
    const address = String(link.target?.address ?? '');
    link.set_target({ address } as never);
    link.set_source((link.source ?? {}) as never);
    (link as any).local.attach.max_message_size = this.#options.messageBytesMax;
    if (this.#cutAt('attach', connection)) return;
    if (address === '$cbs') {
      link.on('message', ({ message, delivery }: EventContext) => {
        delivery?.accept();
        if (this.#cutAt('token', connection)) return;
        const { name, type } = message!.application_properties ?? {};
        const good = this.#claims?.put(connection, pathOf(String(name)), { type: String(type), token: String(message!.body) }) ?? true;
        if (good) this.#answer(connection, message!, 202, {});
        else this.#answer(connection, message!, 401, {}, new AmqpError('amqp:unauthorized-access', 'InvalidToken: this token is not good.'));
      });
      return;
    }
    if (!this.#allowed(link, address)) return;
    if (address.endsWith('/$management')) {
      link.on('message', ({ message, delivery }: EventContext) => {
        delivery?.accept();
        this.#manage(connection, address.slice(0, -'/$management'.length), message!);
      });
    } else this.#publishing(link, address, connection);
  }

  #publishing(link: Receiver, address: string, connection: Connection): void {
    const { namespace, faults, messageBytesMax } = this.#options;
    try {
      namespace.resolve(address);
    } catch (error) {
      return this.#refuse(link, error);
    }
    this.#links.set(link, address);
    link.on('message', ({ message, delivery }: EventContext) => {
      if (this.#cutAt('arrived', connection)) return;
      try {
        const refusal = faults.refuse();
        if (refusal) throw refusal;
        const { target } = namespace.resolve(address);
        const bytes = Buffer.isBuffer(message) ? message.length : Number(message?.body?.content?.length ?? 0);
        if (bytes > messageBytesMax) throw new AmqpError('amqp:link:message-size-exceeded', 'The received message is too large.');
        for (const one of messagesIn(message as never)) namespace.publish(target, one);
      } catch (error) {
        if (conditionOf(error) === 'amqp:not-found') return this.#refuse(link, error);
        delivery!.reject({ condition: conditionOf(error), description: String((error as Error).message) });
        return;
      }
      if (!this.#cutAt('stored', connection)) delivery!.accept();
    });
  }

  #manage(connection: Connection, address: string, request: Message): void {
    if (this.#cutAt('manage', connection)) return;
    try {
      const refusal = this.#options.faults.refuse();
      if (refusal) throw refusal;
      const body = manage(this.#options.namespace, address, request);
      if (!this.#cutAt('managed', connection)) this.#answer(connection, request, body ? 200 : 204, body ?? {});
    } catch (error) {
      this.#answer(connection, request, statusOf(error), {}, error);
    }
  }

  #answer(connection: Connection, request: Message, status: number, body: unknown, error?: unknown): void {
    const link = this.#answers.get(connection)?.get(String(request.reply_to));
    const description = error instanceof Error ? error.message : 'OK';
    const condition = error === undefined ? {} : { errorCondition: conditionOf(error), 'error-condition': conditionOf(error) };
    const code = types.wrap_int(status);
    link?.send({
      correlation_id: request.message_id,
      to: request.reply_to,
      application_properties: { 'status-code': code, statusCode: code, 'status-description': description, statusDescription: description, ...condition },
      body,
    } as never);
  }

  // --- what clients receive ---------------------------------------------------------------------------------------------

  #outgoing({ sender, connection }: EventContext): void {
    const link = sender!;
    const address = String(link.source?.address ?? '');
    if (this.#cutAt('attach', connection)) return;
    if (address !== '$cbs' && !this.#allowed(link, address)) return;
    if (address === '$cbs' || address.endsWith('/$management')) {
      link.set_source({ address } as never);
      link.set_target((link.target ?? {}) as never);
      const answers = this.#answers.get(connection) ?? new Map<string, Sender>();
      this.#answers.set(connection, answers.set(String(link.target?.address || link.name), link).set(link.name, link));
      return;
    }
    const { local, remote } = link as any;
    local.attach.snd_settle_mode = (link as any).snd_settle_mode;
    local.attach.rcv_settle_mode = (link as any).rcv_settle_mode;
    local.attach.target = remote.attach.target?.described?.() ?? remote.attach.target;
    try {
      const { source } = this.#options.namespace.resolve(address);
      if (!source) throw new AmqpError('amqp:not-allowed', `'${address}' is a topic; receive from a subscription.`);
      if (source.settings.requiresSession) this.#acceptSession(link, address, source, connection);
      else this.#serve(link, address, source, undefined);
    } catch (error) {
      link.set_source({ address } as never);
      this.#refuse(link, error);
    }
  }

  #acceptSession(link: Sender, address: string, entity: Entity, connection: Connection): void {
    const filter = link.source?.filter as Record<string, any> | undefined;
    if (!filter || !(sessionFilter in filter)) {
      throw new AmqpError('amqp:not-allowed', `It is not possible to receive from '${address}' without a session: it requires sessions.`);
    }
    const wanted: unknown = filter[sessionFilter]?.value ?? filter[sessionFilter];
    if (typeof wanted === 'string') return this.#serve(link, address, entity, wanted);
    const attach = holdAttach(link);
    const timeoutMs = Number((link as any).properties?.['com.microsoft:timeout'] ?? acceptMs);
    const grant = (id: string): void => {
      this.#serve(link, address, entity, id);
      attach();
    };
    const timedOut = (): void => {
      link.set_source({ address } as never);
      attach();
      this.#refuse(link, new AmqpError('com.microsoft:timeout', 'No session was free within the time.'));
    };
    const cancel = entity.nextSession(timeoutMs, grant, timedOut);
    for (const event of ['sender_close', 'session_close']) link.once(event, cancel);
    for (const event of ['disconnected', 'severed']) connection.once(event, cancel);
  }

  #serve(link: Sender, address: string, entity: Entity, session: string | undefined): void {
    const destructive = (link as any).local.attach.snd_settle_mode === 1;
    const tokens = new Map<Delivery, string>();
    const connection = link.connection;
    const taker: Taker = {
      session,
      destructive,
      wants: () => link.sendable() && (link as any).credit > unsent(link),
      give: (stored, token) => this.#give(link, stored, token, destructive ? undefined : tokens),
      served: () => {
        if (!(link as any)._draining || this.#options.faults.rude) return;
        link.set_drained(true);
        (connection as any)._register(); // outside an event of the connection nothing is written by itself
      },
      end: (error) => this.#refuse(link, error),
    };
    const source: Record<string, unknown> = { address };
    if (session !== undefined) {
      const untilMs = entity.acceptSession(session, taker);
      source['filter'] = { [sessionFilter]: session };
      (link as any).local.attach.properties = { 'com.microsoft:locked-until-utc': ticks(untilMs) };
    }
    link.set_source(source as never);
    this.#links.set(link, address);
    entity.takers.add(taker);
    for (const event of ['accepted', 'rejected', 'modified', 'released']) {
      link.on(event, ({ delivery }: EventContext) => this.#settled(entity, delivery!, tokens, connection));
    }
    for (const event of ['sendable', 'sender_flow', 'sender_draining']) link.on(event, () => entity.pump());
    const leave = (): void => {
      this.#links.delete(link);
      entity.leave(taker);
    };
    link.on('sender_close', () => {
      leave();
      if (this.#options.faults.rude) this.#refuse(link, new AmqpError('amqp:link:detach-forced', 'The service is shutting down.'));
    });
    link.on('session_close', leave);
    for (const event of ['connection_close', 'disconnected', 'severed']) connection.once(event, leave);
    entity.pump();
  }

  #give(link: Sender, stored: Stored, token: string, tokens: Map<Delivery, string> | undefined): void {
    if (this.#cutAt('deliver', link.connection)) return;
    const delivery = link.send(annotated(stored), tagOf(token));
    tokens?.set(delivery, token);
  }

  #settled(entity: Entity, delivery: Delivery, tokens: Map<Delivery, string>, connection: Connection): void {
    const token = tokens.get(delivery);
    if (token === undefined || this.#cutAt('settle', connection)) return;
    tokens.delete(delivery);
    let answer: unknown = (codec as any).accepted().described();
    try {
      settle(entity, token, (delivery as any).remote_state);
    } catch (error) {
      answer = (codec as any).rejected({ error: { condition: conditionOf(error), description: String((error as Error).message) } }).described();
    }
    if (this.#cutAt('settled', connection)) return;
    (delivery as any).update(true, answer);
    // The client has settled for good: without this rhea keeps the delivery, and its window of 2048 fills.
    (delivery as any).remote_settled = true;
  }

  /** Whether anybody receives from there. */
  has(address: string): boolean {
    return [...this.#links.values()].includes(address);
  }
}

/** Of an address, or of the URL that is a token's audience. */
function pathOf(address: string): string {
  return address.replace(/^\w+:\/\/[^/]*\//, '').replace(/^\//, '').toLowerCase();
}

function settle(entity: Entity, token: string, state: any): void {
  const kind = state?.constructor?.composite_type;
  if (kind === 'accepted') return entity.complete(token);
  if (kind === 'modified') {
    const changes = state.message_annotations as object | undefined;
    return state.undeliverable_here ? entity.defer(token, changes) : entity.abandon(token, changes);
  }
  if (kind !== 'rejected') return entity.abandon(token);
  const { DeadLetterReason, DeadLetterErrorDescription, ...changes } = state.error?.info ?? {};
  return entity.reject(token, DeadLetterReason ?? undefined, DeadLetterErrorDescription ?? undefined, changes);
}

/** rhea takes credit off only when it writes; a client's link has a session of its own. */
function unsent(link: Sender): number {
  const { outgoing } = link.session as any;
  return outgoing.next_delivery_id - outgoing.next_pending_delivery;
}

/** rhea says nothing of a socket that was destroyed on this side: whoever has to know is told here. */
function sever(connection: Connection): void {
  (connection as any).socket?.destroy();
  stopHeart(connection);
  connection.emit('severed');
}

/** rhea leaves the timer of its heartbeat behind, which would keep this process alive. */
function stopHeart(connection: Connection): void {
  clearTimeout((connection as any).heartbeat_out as NodeJS.Timeout);
}

/** rhea answers an attach at the end of the turn; this one is answered when the returned function is called. */
function holdAttach(link: Sender): () => void {
  const state = (link as any).state as { open_requests: number; local_open: boolean };
  state.open_requests--;
  state.local_open = false;
  return () => (link as any).open();
}

/** .NET's ticks: 100 ns since the year 1. */
function ticks(ms: number): unknown {
  const value = BigInt(ms) * 10_000n + 621_355_968_000_000_000n;
  return types.wrap_long(Buffer.from(value.toString(16).padStart(16, '0'), 'hex') as never);
}
