/**
 * A TCP proxy before a database or broker that fails on command. Everything passes until it is told otherwise.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export interface Proxy {
  readonly port: number;
  /** Once: the answer in which `pattern` is read is not passed on, and its connection is cut. Resolves when it has happened. */
  cutAnswer(pattern: RegExp): Promise<void>;
  /** Once: the request in which `pattern` is read is not passed on, and its connection is cut. Resolves when it has happened. */
  cutRequest(pattern: RegExp): Promise<void>;
  /** Cuts every connection, now. */
  cut(): void;
  /** From now on nobody listens. */
  refuse(): Promise<void>;
  close(): Promise<void>;
}

export async function startProxy(toPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let armed: { pattern: RegExp; happened: () => void } | undefined;
  let armedRequest: typeof armed;

  const server: Server = createServer((client) => {
    const upstream = createConnection(toPort, '127.0.0.1');
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
      if (armedRequest?.pattern.test(data.toString('latin1')) !== true) return void upstream.write(data);
      const { happened } = armedRequest;
      armedRequest = undefined;
      end();
      happened();
    });
    upstream.on('data', (data) => {
      if (armed?.pattern.test(data.toString('latin1')) !== true) return void client.write(data);
      const { happened } = armed;
      armed = undefined;
      end();
      happened();
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
    cutAnswer: (pattern) => new Promise((happened) => (armed = { pattern, happened })),
    cutRequest: (pattern) => new Promise((happened) => (armedRequest = { pattern, happened })),
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
