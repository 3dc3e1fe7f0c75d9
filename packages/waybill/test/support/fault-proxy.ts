/** A TCP proxy that fails on command, between a client and a server on this machine. */
import { connect, createServer, type Socket } from 'node:net';

export interface FaultProxy {
  readonly port: number;
  /** Where new connections lead: after a fail-over, to another server. */
  target: number;
  /**
   * `pass`; `refuse`: nobody gets in; `swallow`: connections stay, what is sent is lost (half-open: cut them afterwards);
   * `stall`: connections stay, what is sent arrives when it is over.
   */
  mode: 'pass' | 'refuse' | 'swallow' | 'stall';
  /** Each chunk waits this long, in both directions. */
  delayMs: number;
  /** After this many bytes from client to server the connection is cut, in the middle of a frame perhaps. */
  cutAfterBytes: number;
  /** Connections that are open now. */
  readonly open: number;
  cut(): void;
  /** As `cut`, with RST instead of FIN. */
  reset(): void;
  close(): Promise<void>;
}

export async function faultProxy(target: number): Promise<FaultProxy> {
  const pairs = new Set<{ client: Socket; server: Socket; bytes: number }>();
  let mode: FaultProxy['mode'] = 'pass';
  const proxy = {
    port: 0,
    target,
    get mode() {
      return mode;
    },
    set mode(next: FaultProxy['mode']) {
      mode = next;
      for (const socket of [...pairs].flatMap(({ client, server }) => [client, server])) {
        if (mode === 'stall') socket.pause();
        else socket.resume();
      }
    },
    delayMs: 0,
    cutAfterBytes: Infinity,
    get open() {
      return pairs.size;
    },
    cut() {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
    },
    reset() {
      for (const { client, server } of pairs) {
        client.resetAndDestroy();
        server.resetAndDestroy();
      }
    },
    async close() {
      proxy.cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
  const listener = createServer((client) => {
    if (proxy.mode === 'refuse') return void client.destroy();
    const server = connect({ host: '127.0.0.1', port: proxy.target });
    const pair = { client, server, bytes: 0 };
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.setNoDelay(true).on('error', end).on('close', end);
    const pass = (to: Socket) => (chunk: Buffer) => {
      if (proxy.mode === 'swallow') return;
      if (to === server) {
        pair.bytes += chunk.length;
        if (pair.bytes > proxy.cutAfterBytes) {
          server.write(chunk.subarray(0, Math.max(0, chunk.length - (pair.bytes - proxy.cutAfterBytes))), end);
          return;
        }
      }
      if (proxy.delayMs > 0) setTimeout(() => to.write(chunk), proxy.delayMs);
      else to.write(chunk);
    };
    client.on('data', pass(server));
    server.on('data', pass(client));
    if (proxy.mode === 'stall') for (const socket of [client, server]) socket.pause();
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  proxy.port = (listener.address() as { port: number }).port;
  return proxy;
}
