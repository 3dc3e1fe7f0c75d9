/**
 * A local stand-in for an Azure Service Bus namespace, for tests: AMQP 1.0 over plain TCP by `rhea`, and the ATOM
 * administration over http, as the public protocol guide describes them. It speaks to the official SDK, unmodified.
 *
 * It is no Service Bus. Known differences: one process and no replication; tokens are checked only by what a test gives for it; of SQL filters only
 * comparisons joined by AND and OR; no forwarding, auto-delete, partitions, transactions, quotas; locks and the history
 * of duplicate detection do not survive a restart; time is not simulated.
 */
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { TokenCheck } from './claims.ts';
import { Connections } from './connections.ts';
import { type AdministrationSwitches, createAdministration } from './administration.ts';
import { Faults } from './faults.ts';
import { fileJournal, nowhere } from './journal.ts';
import { Namespace } from './namespace.ts';

export { AmqpError } from './amqp-error.ts';
export { steps, type Step } from './faults.ts';

export interface StandInOptions {
  /** 0 takes any. */
  readonly port?: number;
  readonly administrationPort?: number;
  /** Keeps everything there, for the next one. */
  readonly file?: string;
  /** The largest message or batch. @default 262144, as the Standard tier */
  readonly messageBytesMax?: number;
  /** Asked for each token that is shown. @default every token is good */
  readonly checkToken?: TokenCheck;
}

export interface StandIn {
  readonly port: number;
  readonly administrationPort: number;
  readonly connectionString: string;
  readonly url: string;
  readonly namespace: Namespace;
  readonly faults: Faults;
  /** Cuts every connection without a goodbye. */
  cut(): void;
  /** Every lock runs out now. */
  expireLocks(): void;
  /** Every link is detached, as when its token has expired. */
  expireTokens(): void;
  /** The administration answers 401 from now on, as to credentials without Manage, or 403, as its firewall does; or no longer. */
  deny(denied: boolean, status?: 401 | 403): void;
  /** Out of reach: nobody listens, every connection is cut. */
  leave(): Promise<void>;
  comeBack(): Promise<void>;
  close(): Promise<void>;
}

export async function startStandIn(options: StandInOptions = {}): Promise<StandIn> {
  const journal = options.file === undefined ? nowhere : fileJournal(options.file);
  const namespace = new Namespace(journal);
  const faults = new Faults();
  const switches: AdministrationSwitches = { denied: undefined };
  const connections = new Connections({ namespace, faults, messageBytesMax: options.messageBytesMax ?? 256 * 1024, checkToken: options.checkToken });
  const administration = createAdministration(namespace, switches);

  /** Those too that have not come as far as AMQP. */
  const sockets = new Set<Socket>();
  const listen = async (port: number, administrationPort: number): Promise<Server> => {
    const server = connections.listen(port);
    server.on('connection', (socket: Socket) => void sockets.add(socket.once('close', () => sockets.delete(socket))));
    await once(server, 'listening');
    administration.listen(administrationPort, '127.0.0.1');
    await once(administration, 'listening');
    return server;
  };
  let server: Server | undefined = await listen(options.port ?? 0, options.administrationPort ?? 0);
  const { port } = server.address() as AddressInfo;
  const { port: administrationPort } = administration.address() as AddressInfo;

  const leave = async (): Promise<void> => {
    if (!server) return;
    const left = server;
    server = undefined;
    const closed = Promise.all([once(left, 'close'), once(administration, 'close')]);
    left.close();
    administration.close();
    administration.closeAllConnections();
    connections.cut();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    port,
    administrationPort,
    connectionString: `Endpoint=sb://localhost:${port};SharedAccessKeyName=Root;SharedAccessKey=c2VjcmV0;UseDevelopmentEmulator=true;`,
    url: `sb://Root:c2VjcmV0@localhost:${port}?emulator=true&administrationPort=${administrationPort}`,
    namespace,
    faults,
    cut: () => connections.cut(),
    expireLocks() {
      for (const entity of namespace.entities()) entity.expire(Infinity);
    },
    expireTokens: () => connections.expireTokens(),
    deny: (denied, status = 401) => void (switches.denied = denied ? status : undefined),
    leave,
    async comeBack() {
      server ??= await listen(port, administrationPort);
    },
    async close() {
      await leave();
      connections.close();
      namespace.close();
      journal.close();
    },
  };
}
