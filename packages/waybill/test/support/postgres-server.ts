/**
 * A PostgreSQL server of one test file's own: initdb, and `postgres` as a direct child, so that a killed one is reaped
 * and starts again (behind `pg_ctl` it would stay a zombie that holds `postmaster.pid`). Listens on 127.0.0.1 alone.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

/** PostgreSQL refuses to run as root. */
const user = process.getuid?.() === 0 ? ownerOf('postgres') : undefined;
const startMaxMs = 20_000;

export interface PostgresServer {
  readonly port: number;
  /** @param database default `postgres` @param role default the superuser `waybill` */
  url(database?: string, role?: string): string;
  /** A fresh database; its name. @param template default `template1` */
  createDatabase(template?: string): Promise<string>;
  /** One statement, or several without values, as superuser. */
  query(text: string, values?: readonly unknown[], database?: string): Promise<pg.QueryResult<any>>;
  /** Process ids of the server's own children: backends and helpers. */
  children(): number[];
  /** SIGKILL to the server and all its children; resolves when none is left. */
  kill(): Promise<void>;
  /** SIGSTOP to the server and all its children, before `kill`. */
  freeze(): void;
  /** Starts it if it has ended by itself. */
  revive(): Promise<void>;
  /** After `kill` or `stop`; crash recovery included. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Other files instead of its own, after `kill` or `stop`: a new cluster's, or what `init` makes. */
  remake(init?: (data: string) => void): void;
  /** Stops it and removes its files. */
  close(): Promise<void>;
  readonly folder: string;
  /** The server's own process id. */
  readonly pid: number;
}

export interface ServerOptions {
  /** The folder that holds `initdb` and `postgres`: `needs('postgres').path`'s. */
  readonly bin: string;
  /** Further settings, such as `wal_level: 'logical'`. */
  readonly settings?: Readonly<Record<string, string | number>>;
  /** Makes the data folder in another way than by `initdb` (a base backup). */
  readonly init?: (data: string) => void;
  /** Pages have checksums, so that a torn one is noticed. @default false */
  readonly checksums?: boolean;
  /** Where its folder is made. @default the system's folder for temporary files */
  readonly folder?: string;
}

/** Without fsync: what tests kill is processes, and the operating system keeps their pages. */
const settingsDefault = { fsync: 'off', shared_buffers: '32MB', max_connections: 60, max_prepared_transactions: 20, log_min_messages: 'fatal' };

export async function startPostgres(options: ServerOptions): Promise<PostgresServer> {
  // A bus refuses such a server, unless it is accepted by name: for this process and what it starts.
  if ({ ...settingsDefault, ...options.settings }.fsync === 'off') process.env.WAYBILL_ACCEPT ??= 'POSTGRES_FSYNC_OFF';
  const folder = mkdtempSync(join(options.folder ?? tmpdir(), 'waybill-postgres-'));
  const data = join(folder, 'data');
  const as = user === undefined ? {} : { uid: user.uid, gid: user.gid };
  const own = (path: string): void => {
    mkdirSync(path, { recursive: true });
    if (user !== undefined) chownSync(path, user.uid, user.gid);
  };
  const make = (init = options.init): void => {
    own(data);
    chmodSync(data, 0o700);
    if (init !== undefined) return init(data);
    const how = ['-D', data, '-U', 'waybill', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync', '--no-instructions', ...(options.checksums ? ['--data-checksums'] : [])];
    execFileSync(join(options.bin, 'initdb'), how, { ...as, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
  };
  for (const path of [folder, join(folder, 'sock')]) own(path);
  chmodSync(folder, 0o755);
  make();
  const port = await freePort();
  let child: ChildProcess | undefined;
  let databases = 0;
  process.once('exit', () => child?.kill('SIGKILL'));

  const url = (database = 'postgres', role = 'waybill'): string => `postgres://${role}@127.0.0.1:${port}/${database}`;

  const query: PostgresServer['query'] = async (text, values, database) => {
    const client = new pg.Client({ connectionString: url(database) });
    client.on('error', () => {});
    await client.connect();
    try {
      return await client.query(text, values as unknown[]);
    } finally {
      await client.end();
    }
  };

  const start = async (): Promise<void> => {
    const settings = { ...settingsDefault, ...options.settings, listen_addresses: '127.0.0.1', port, unix_socket_directories: join(folder, 'sock') };
    const parameters = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const started = spawn(join(options.bin, 'postgres'), ['-D', data, ...parameters], { ...as, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    started.stderr.on('data', (text) => (log = (log + String(text)).slice(-4_000)));
    child = started;
    for (const endMs = performance.now() + startMaxMs; ; ) {
      if (started.exitCode !== null || started.signalCode !== null) throw new Error(`postgres ended while it started: ${log}`);
      try {
        await query('select 1');
        return;
      } catch (error) {
        if (performance.now() > endMs) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  const ended = async (signal: NodeJS.Signals): Promise<void> => {
    const server = child;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const exit = new Promise((resolve) => server.once('exit', resolve));
    server.kill(signal);
    await exit;
  };

  const kill = async (): Promise<void> => {
    if (child?.exitCode === null && child.signalCode === null) child.kill('SIGSTOP'); // so that it has no child that we miss
    const all = childrenOf(child?.pid);
    const dead = ended('SIGKILL');
    for (const pid of all) signalTo(pid, 'SIGKILL');
    await dead;
    while (all.some((pid) => signalTo(pid, 0))) await new Promise((resolve) => setTimeout(resolve, 10));
  };

  await start();
  return {
    port,
    folder,
    url,
    query,
    start,
    kill,
    freeze() {
      child?.kill('SIGSTOP');
      for (const pid of childrenOf(child?.pid)) signalTo(pid, 'SIGSTOP');
    },
    async revive() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) await start();
    },
    get pid() {
      return child!.pid!;
    },
    async createDatabase(template = 'template1') {
      const name = `test_${process.pid}_${++databases}`;
      await query(`create database ${name} template ${template}`);
      return name;
    },
    children: () => childrenOf(child?.pid),
    stop: () => ended('SIGINT'),
    remake(init) {
      rmSync(data, { recursive: true });
      make(init);
    },
    async close() {
      await ended('SIGQUIT');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function childrenOf(pid: number | undefined): number[] {
  if (pid === undefined) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return / \S (\d+) /.exec(readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\)/, ')'))?.[1] === String(pid);
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number);
}

/** Whether it is still there. */
function signalTo(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

function ownerOf(name: string): { uid: number; gid: number } | undefined {
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find((entry) => entry.startsWith(`${name}:`));
  if (line === undefined) return undefined;
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}
