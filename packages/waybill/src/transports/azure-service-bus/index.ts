/**
 * Azure Service Bus through its official SDK, which the user brings (`npm install @azure/service-bus`).
 *
 * In: ledger rows from the relay. Out: deliveries under peek-lock, completed after the effect has committed. Guaranteed: a
 * message counts as stored once the service has accepted it; one topic takes all events, so the order of a key holds over
 * types; `by-key` subscriptions are sessions, which one instance holds at a time; commands go to a queue of their own,
 * and are unroutable where there is none. A crash leaves locks that run out, then the messages come again: those that
 * were in flight say so (`suspect`).
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Transport } from '../../contract/transport.ts';
import type { AzureAdministration, AzureClient } from './client.ts';
import { closeForGood } from './clients.ts';
import { connect, readConnection } from './connection.ts';
import { mendLinks } from './mend-links.ts';
import { topologyIn } from './plan.ts';
import { openSession, type SessionOptions } from './session.ts';

export interface AzureServiceBusOptions {
  /** What topics and queues begin with: systems with different prefixes share a namespace without meeting. @default 'waybill' */
  readonly prefix?: string;
  /** How long a message is locked before it comes again, in milliseconds; renewed while it is in hand. 5,000 to 300,000. Used when an entity is created. @default 30000 */
  readonly lockMs?: number;
  /** How long an operation waits whose answer was lost on the way, and a link is silent before it is asked after, in milliseconds; a client of yours has times of its own for operations. @default 10000 */
  readonly timeoutMs?: number;
  /** Beside a host name: a `TokenCredential`, as `@azure/identity` makes them. */
  readonly credential?: { getToken(scopes: string | string[], options?: any): Promise<unknown> };
  /** Beside a client: the `ServiceBusAdministrationClient` that creates entities. Without one they are only looked for. */
  readonly administration?: AzureAdministration;
  /** The administration of a local emulator is plain http on this port. */
  readonly administrationPort?: number;
}

const lockDefaultMs = 30_000;
const timeoutDefaultMs = 10_000;
const timeoutMinMs = 500;
const lockMinMs = 5_000;
const lockMaxMs = 300_000;
const prefixPattern = /^[a-z0-9](?:[a-z0-9._-]{0,60}[a-z0-9])?$/;

/**
 * A transport over Azure Service Bus. URLs: `sb://KEYNAME:KEY@HOST`, or the connection string as Azure gives it.
 * @param connection a connection string, a `sb://` URL, a host name (with `credential`), or a `ServiceBusClient`, which stays the caller's to close
 * @throws WaybillError `INVALID_URL`, `INVALID_OPTION`; on connecting `DRIVER_MISSING`, `TRANSPORT_DENIED`, `TOPOLOGY_MISSING`
 */
export function azureServiceBus(connection: string | AzureClient, options: AzureServiceBusOptions = {}): Transport {
  const read = typeof connection === 'string' ? readConnection(connection, options.credential) : undefined;
  const timeoutMs = options.timeoutMs ?? read?.timeoutMs ?? timeoutDefaultMs;
  if (!(timeoutMs >= timeoutMinMs)) throw new WaybillError('INVALID_OPTION', `azureServiceBus: timeoutMs must be ${timeoutMinMs} milliseconds at least`);
  const lockMs = options.lockMs ?? read?.lockMs ?? lockDefaultMs;
  if (!Number.isInteger(lockMs / 1_000) || lockMs < lockMinMs || lockMs > lockMaxMs) {
    throw new WaybillError('INVALID_OPTION', `azureServiceBus: lockMs must be whole seconds from ${lockMinMs} to ${lockMaxMs} milliseconds`);
  }
  const prefix = options.prefix ?? read?.prefix ?? 'waybill';
  if (!prefixPattern.test(prefix)) {
    throw new WaybillError('INVALID_OPTION', 'azureServiceBus: prefix must be 1 to 62 lower-case letters, digits, dots, dashes and underscores, a letter or digit at both ends');
  }
  const open = async (): Promise<Pick<SessionOptions, 'client' | 'make' | 'administration'>> => {
    mendLinks();
    if (!read) return { client: connection as AzureClient, make: undefined, administration: options.administration };
    return connect({ ...read, administrationPort: options.administrationPort ?? read.administrationPort }, timeoutMs);
  };
  return {
    kind: 'azure-service-bus',
    topology: topologyIn({ prefix, lockMs, open }),
    async connect(host) {
      const opened = await open();
      try {
        return await openSession({ ...opened, timeoutMs, prefix, lockMs }, host);
      } catch (error) {
        if (opened.make) await closeForGood(opened.client, host.clock);
        throw error;
      }
    },
  };
}

export type { AzureAdministration, AzureClient } from './client.ts';
