/** Servers of one run, and the tables that every contender writes: a row updated per send, a row updated per message. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type Servers, startServers } from '../rabbitmq/servers.ts';

export interface Stage {
  readonly servers: Servers;
  readonly redisPort: number;
  /** For senders: each `send` is a transaction with an update. */
  readonly pool: pg.Pool;
  /** For handlers. */
  readonly handlers: pg.Pool;
  /** Update and `more` in one transaction. */
  sending(n: number, more: (client: pg.PoolClient) => Promise<unknown>): Promise<void>;
  /** The effect of a message: a statement with a name, which each connection plans once. */
  effect(client: Effected, n: number): Promise<unknown>;
  /** Of several, in one statement. */
  effects(client: Effected, all: readonly number[]): Promise<unknown>;
  close(): Promise<void>;
}

interface Effected {
  query(statement: pg.QueryConfig): Promise<unknown>;
}

export async function openStage(): Promise<Stage> {
  const servers = await startServers();
  const folder = await mkdtemp(join(tmpdir(), 'waybill-redis-'));
  const redisPort = await freePort();
  const redis: ChildProcess = spawn('redis-server', ['--port', String(redisPort), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'yes'], { stdio: 'ignore' });
  const pools = [16, 20].map((max) => {
    const pool = new pg.Pool({ connectionString: servers.postgres, max });
    pool.on('error', () => {});
    return pool;
  });
  const [pool, handlers] = pools as [pg.Pool, pg.Pool];
  await pool.query('create table account (id integer primary key, balance integer not null)');
  await pool.query('insert into account select n, 0 from generate_series(0, 999) n');
  await pool.query('create table effect (n integer primary key, times integer not null)');
  return {
    servers,
    redisPort,
    pool,
    handlers,
    async sending(n, more) {
      const client = await pool.connect();
      try {
        await client.query('begin');
        await client.query('update account set balance = balance + 1 where id = $1', [n % 1_000]);
        await more(client);
        await client.query('commit');
      } finally {
        client.release();
      }
    },
    effect: (client, n) => client.query({ name: 'effect', text: 'update effect set times = times + 1 where n = $1', values: [n] }),
    effects: (client, all) => client.query({ name: 'effects', text: 'update effect set times = times + 1 where n = any($1::integer[])', values: [all] }),
    async close() {
      await Promise.all(pools.map((one) => one.end()));
      redis.kill();
      await servers.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
