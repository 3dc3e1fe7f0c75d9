/**
 * A TCP proxy before a database or broker that fails on command. Everything passes until it is told otherwise.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  /**
   * Once: lets the request in which `pattern` is read reach the server, waits for the answer, and cuts the connection
   * instead of passing it on. Resolves when it has happened.
   */
  cutAnswerOf(pattern: RegExp): Promise<void>;
  /** Cuts every connection, now. */
  cut(): void;
  /** From now on nobody listens. */
  refuse(): Promise<void>;
  close(): Promise<void>;
}

export async function startProxy(toPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let armed: { pattern: RegExp; happened: () => void } | undefined;

  const server: Server = createServer((client) => {
    const upstream = createConnection(toPort, '127.0.0.1');
    let cutting: (() => void) | undefined;
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', end);
      socket.on('close', () => {
        sockets.delete(socket);
        end();
      });
      socket.setNoDelay(true);
    }
    client.on('data', (data) => {
      if (armed !== undefined && armed.pattern.test(data.toString('latin1'))) {
        cutting = armed.happened;
        armed = undefined;
      }
      upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (cutting === undefined) return void client.write(data);
      end();
      cutting();
    });
  });

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: address.port,
    cutAnswerOf: (pattern) => new Promise((happened) => (armed = { pattern, happened })),
    cut,
    async refuse() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
    async close() {
      cut();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}
