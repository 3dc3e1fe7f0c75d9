/**
 * RabbitMQ, over AMQP 0-9-1 with the user's amqplib 2. In: messages of the relay; out: deliveries of each subscription's
 * queue. Guaranteed: published means confirmed and routed; per key nothing is overtaken, neither amid a window nor after a
 * loss; with order by-key one instance at a time works on a key. A crash leaves messages unconfirmed (they are sent again
 * under the same ids) and deliveries unacknowledged (they come again, marked). The topology is told in `names.ts`.
 *
 * Cost per message, measured with 200 bytes: about 10 µs here to publish with its confirm, 4–5 µs to consume and acknowledge
 * in sets; the broker needs 20–30 µs. Idle: heartbeats each 10 s on two connections, a question each 2 s per by-key
 * subscription, a word per second to the other instances, and what `beats.ts` tells: no timer per subscription.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Transport } from '../../contract/transport.ts';
import { type Dial, dialUrls, type TlsOptions } from './client.ts';
import { topologyAt } from './plan.ts';
import { connect } from './session.ts';

export interface RabbitOptions {
  /**
   * The first word of everything that is made at the broker: the exchange's name, and the prefix of the queues'. Services
   * of one system share it.
   * @default 'waybill'
   */
  readonly system?: string;
  /** The type of new queues. Quorum queues are replicated, and confirm faster. @default 'quorum' */
  readonly queues?: 'quorum' | 'classic';
  /**
   * Messages that one subscription of this instance has in hand at most, which bounds its memory; fewer once they are so
   * large that it were more than 64 MiB.
   * @default 1_200, or five times the subscription's `batch` where that is more
   */
  readonly prefetch?: number;
  /** TLS for `amqps:` URLs. */
  readonly tls?: TlsOptions;
  /** `external`: the user is whom the client's certificate names (plugin rabbitmq_auth_mechanism_ssl). */
  readonly auth?: 'external';
  /**
   * How long the subscription waits in milliseconds after it made a quorum queue, before it counts as declared: a node of
   * RabbitMQ 3.10 that is killed loses a younger one with everything in it.
   * @default 2_000
   */
  readonly settleMs?: number;
}

/**
 * A transport over RabbitMQ 3.10 or newer.
 * @param at one or several URLs (`amqp://user:password@host:5672/vhost`, `amqps://…`), tried in turn; or a function that
 * opens a connection with amqplib
 * @throws WaybillError `INVALID_URL`, `INVALID_OPTION`; when it connects `DRIVER_MISSING`, `TRANSPORT_UNREACHABLE`, `TRANSPORT_DENIED`
 */
export function rabbitmq(at: string | readonly string[] | Dial, options: RabbitOptions = {}): Transport {
  const { system = 'waybill', queues = 'quorum', prefetch, settleMs = 2_000, tls, auth } = options;
  const refuse = (option: string, why: string): never => {
    throw new WaybillError('INVALID_OPTION', `rabbitmq: ${option} ${why}`);
  };
  if (!/^[a-z0-9][a-z0-9.-]{0,49}$/.test(system) || system.startsWith('amq.')) refuse('system', 'is up to 50 lower-case letters, digits, dots and dashes');
  if (queues !== 'quorum' && queues !== 'classic') refuse('queues', "must be 'quorum' or 'classic'");
  if (prefetch !== undefined && (!Number.isSafeInteger(prefetch) || prefetch < 1 || prefetch > 65_535)) refuse('prefetch', 'must be a whole number from 1 to 65535');
  if (!Number.isFinite(settleMs) || settleMs < 0) refuse('settleMs', 'must be a number of milliseconds from 0 on');
  const dial = typeof at === 'function' ? at : dialUrls(checked(typeof at === 'string' ? [at] : at), { tls, auth });
  return {
    kind: 'rabbitmq',
    topology: topologyAt({ dial, system, queueType: queues }),
    connect: (host) => connect({ dial, system, queueType: queues, prefetch, settleMs }, host),
  };
}

function checked(urls: readonly string[]): readonly string[] {
  const wrong = urls.length === 0 || urls.some((url) => !URL.canParse(url) || !/^amqps?:$/.test(new URL(url).protocol));
  // The URL may hold a password: it is not repeated.
  if (wrong) throw new WaybillError('INVALID_URL', 'a RabbitMQ URL is amqp://user:password@host:port/vhost, or amqps://…');
  return urls;
}

export type { Dial, TlsOptions };
