/**
 * A private RabbitMQ node on free ports, as a child of the test: `start`, `kill` (-9), `start` again, `close`. It keeps
 * its data between starts. A start takes 4–7 s, so there is one node to a test file; cases keep apart by the transport's
 * `system` name or by virtual hosts. When the test process dies, the node goes with it (its standard input closes).
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** Debian's wrappers in /usr/sbin change the user; these run as whoever calls them. */
export const binaries = '/usr/lib/rabbitmq/bin';
const startMs = 60_000;

export interface RabbitServer {
  readonly url: string;
  readonly port: number;
  readonly folder: string;
  /** An `amqp:` URL of this node. */
  urlOf(options: { user?: string; password?: string; vhost?: string }): string;
  start(): Promise<void>;
  /** kill -9; what is on disk stays. */
  kill(): Promise<void>;
  signal(name: NodeJS.Signals): Promise<void>;
  /** `rabbitmqctl` with these arguments; about a second. */
  ctl(...args: string[]): Promise<string>;
  close(): Promise<void>;
}

/** @param conf further lines of rabbitmq.conf */
export async function rabbitServer(conf: readonly string[] = []): Promise<RabbitServer> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-rabbit-'));
  const [port, distribution, epmdPort] = await Promise.all([freePort(), freePort(), freePort()]);
  await mkdir(join(folder, 'home'));
  await writeFile(join(folder, 'home/.erlang.cookie'), 'WAYBILLTEST');
  await chmod(join(folder, 'home/.erlang.cookie'), 0o400);
  await writeFile(join(folder, 'enabled_plugins'), '[].');
  const lines = [
    `listeners.tcp.1 = 127.0.0.1:${port}`,
    'disk_free_limit.absolute = 50MB',
    'vm_memory_high_watermark.absolute = 512MB',
    'log.file.level = warning',
    ...conf,
  ];
  await writeFile(join(folder, 'rabbitmq.conf'), `${lines.join('\n')}\n`);
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    HOME: join(folder, 'home'),
    RABBITMQ_NODENAME: `w${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: `${port}`,
    RABBITMQ_DIST_PORT: `${distribution}`,
    ERL_EPMD_PORT: `${epmdPort}`,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'advanced.config'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
    RABBITMQ_GENERATED_CONFIG_DIR: join(folder, 'gen'),
    RABBITMQ_FEATURE_FLAGS_FILE: join(folder, 'feature_flags'),
    RABBITMQ_PID_FILE: join(folder, 'pid'),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none',
  };
  const epmd = child('epmd', ['-port', `${epmdPort}`, '-address', '127.0.0.1'], env);
  await listening(epmdPort, epmd);
  let server: ChildProcess | undefined;

  const beam = async (): Promise<number> => Number(await readFile(join(folder, 'pid'), 'utf8'));
  const urlOf: RabbitServer['urlOf'] = ({ user = 'guest', password = user, vhost = '/' }) =>
    `amqp://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/${encodeURIComponent(vhost)}`;

  const self: RabbitServer = {
    port,
    folder,
    url: urlOf({}),
    urlOf,
    async start() {
      await rm(join(folder, 'pid'), { force: true });
      server = child(join(binaries, 'rabbitmq-server'), [], env);
      await listening(port, server);
    },
    async kill() {
      const pid = await beam();
      process.kill(pid, 'SIGKILL');
      await ended(server!);
      server = undefined;
    },
    async signal(name) {
      process.kill(await beam(), name);
    },
    async ctl(...args) {
      return (await promisify(execFile)(join(binaries, 'rabbitmqctl'), ['-q', ...args], { env })).stdout;
    },
    async close() {
      for (const running of [server, epmd]) {
        running?.stdin?.end();
        if (running) await ended(running);
      }
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    await self.start();
  } catch (error) {
    await self.close();
    throw error;
  }
  return self;
}

/** A process group that ends when its standard input does: at `close`, and when this process dies. */
function child(command: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  // The command gets no input of its own; `wait` ends the group when the command ends by itself.
  const script = '"$@" </dev/null >/dev/null 2>&1 & p=$!; { cat >/dev/null; kill -9 0; } & wait $p; kill -9 0';
  return spawn('sh', ['-c', `exec 3<&0; ${script.replace('cat >', 'cat <&3 >')}`, 'sh', command, ...args], {
    env,
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
}

function ended(running: ChildProcess): Promise<void> {
  if (running.exitCode !== null || running.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => running.once('exit', () => resolve()));
}

async function listening(port: number, server: ChildProcess): Promise<void> {
  const untilMs = performance.now() + startMs;
  while (performance.now() < untilMs) {
    if (server.exitCode !== null || server.signalCode !== null) throw new Error('the server ended while it started');
    if (await answers(port)) return;
    await sleep(50);
  }
  throw new Error(`nothing listens on port ${port} after ${startMs} ms`);
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (result: boolean): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
