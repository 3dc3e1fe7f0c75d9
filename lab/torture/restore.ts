/**
 * A backup is taken while everybody works, and put back a little later, as after an accident: of PostgreSQL the whole cluster (a
 * physical copy), or each service's database in a cluster made anew (a logical one); of SQLite one service's file. Brokers, and the other
 * services' files, stay as they are.
 */
import { execFile, execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { resumeAfterRestore } from 'waybill/stores/postgres';
import { needs } from '../../test/support/needs.ts';
import { type Ground, services } from './ground.ts';
import { monotonicMs } from './history.ts';
import type { Processes } from './processes.ts';
import type { Role } from './role.ts';

const run = promisify(execFile);
type Service = Role['service'];
type Victims = Pick<Processes<never>, 'names' | 'hold' | 'release' | 'kill' | 'say'>;

interface Backup {
  readonly how: string;
  readonly services: readonly Service[];
  /** @param begins said just before anybody can write to what was put back */
  putBack(begins: () => void): Promise<void>;
}

export async function restoreBackup(ground: Ground, processes: Victims, random: () => number): Promise<void> {
  const folder = join(ground.folder, `backup-${monotonicMs()}`);
  await mkdir(folder);
  const ended = await ground.read<{ key: string }>('ordering', `select key from waybill_saga where status in ('completed', 'compensated')`);
  const sinceMs = monotonicMs();
  const { postgres, pair } = ground;
  const rereads = pair.store === 'sqlite' && pair.transport === 'sqlite';
  const backup = postgres ? await (random() < 0.5 ? physical : logical)(postgres.server, folder) : await ofFile(ground, processes, { folder, service: services[Math.floor(random() * services.length)]! });
  await sleep(500 + random() * 5_000); // so much is lost
  await backup.putBack(() => processes.say({ what: 'restored', sinceMs, rereads, services: backup.services, ids: ended.map(({ key }) => key), text: `${backup.how} of ${backup.services.join(', ')}` }));
  await rm(folder, { recursive: true });
}

type Server = NonNullable<Ground['postgres']>['server'];

function programOf(name: string): string {
  return join(dirname(realpathSync(needs('postgres').path!)), name);
}

function connection(server: Server): string[] {
  return ['-h', '127.0.0.1', '-p', String(server.port), '-U', 'waybill'];
}

/** The server goes on from there by itself: its log of transactions and all rows are of one moment. */
async function physical(server: Server, folder: string): Promise<Backup> {
  const copy = join(folder, 'data');
  await run(programOf('pg_basebackup'), [...connection(server), '-D', copy, '-X', 'stream', '-c', 'fast', '--no-sync']);
  return {
    how: 'a physical copy',
    services,
    async putBack(begins) {
      await server.kill();
      server.remake((data) => {
        execFileSync('cp', ['-r', `${copy}/.`, data]);
        execFileSync('chown', ['-R', '--reference', dirname(data), data]);
      });
      begins();
      await server.start();
    },
  };
}

/** One dump after another, so each service goes back to a moment of its own. Nobody gets in before the ledger was resumed. */
async function logical(server: Server, folder: string): Promise<Backup> {
  for (const service of services) await run(programOf('pg_dump'), [...connection(server), '-Fc', '-f', join(folder, service), service]);
  return {
    how: 'a dump',
    services,
    async putBack(begins) {
      await server.kill();
      server.remake();
      await server.start();
      begins();
      for (const service of services) {
        const closed = `${service}_closed`;
        await server.query(`create database ${closed}`);
        await run(programOf('pg_restore'), [...connection(server), '-d', closed, join(folder, service)]);
        const pool = new pg.Pool({ connectionString: server.url(closed) });
        try {
          await resumeAfterRestore(pool);
        } finally {
          await pool.end();
        }
        await server.query(`alter database ${closed} rename to ${service}`);
      }
    },
  };
}

/** Nobody may have the file open; what of it stood in other files goes with it. */
async function ofFile({ file }: Ground, processes: Victims, { folder, service }: { folder: string; service: Service }): Promise<Backup> {
  const copy = join(folder, 'copy.db');
  const database = new DatabaseSync(file(service), { readOnly: true, timeout: 5_000 });
  try {
    database.prepare('vacuum into ?').run(copy);
  } finally {
    database.close();
  }
  return {
    how: 'a copy',
    services: [service],
    async putBack(begins) {
      const users = processes.names.filter((name) => name.startsWith(`${service} `));
      processes.hold(users);
      try {
        await Promise.all(users.map((name) => processes.kill(name)));
        for (const end of ['-wal', '-shm']) await rm(`${file(service)}${end}`, { force: true });
        await copyFile(copy, file(service));
        begins();
      } finally {
        processes.release(users);
      }
    },
  };
}
