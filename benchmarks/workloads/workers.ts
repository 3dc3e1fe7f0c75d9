/**
 * Where workloads run, and in which processes: the embedded default in a folder, or PostgreSQL with RabbitMQ on private
 * servers; each process is one of `process.ts` with the schema, exchange or folder of its run.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Servers, startServers } from '../rabbitmq/servers.ts';
import type { Answer, Ask, Setting } from './process.ts';

/** What is published and how it is handled. */
export interface Load {
  readonly bytes?: number;
  readonly keys?: number;
  readonly order?: Setting['order'];
  readonly slowMs?: number;
  readonly transaction?: Setting['transaction'];
  readonly count: number;
}

export type Ground = { readonly kind: 'embedded'; readonly dir: string } | { readonly kind: 'servers'; readonly servers: Servers };

export const usual = { bytes: 200, keys: 1_000, order: 'by-key', slowMs: 0, transaction: 'shared' } as const;

export async function onGround(kind: Ground['kind'], work: (ground: Ground) => Promise<void>): Promise<void> {
  if (kind === 'servers') {
    const servers = await startServers();
    try {
      await work({ kind, servers });
    } finally {
      await servers.close();
    }
  } else {
    const dir = await mkdtemp(join(tmpdir(), 'waybill-workloads-'));
    try {
      await work({ kind, dir });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  }
}

let runs = 0;

export interface Worker {
  ask(ask: Ask): Promise<Answer>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

/** @param resumes it takes over what another has begun */
export type Start = (role: Setting['role'], resumes?: boolean) => Promise<Worker>;

/** All processes of a workload of its own, which are ended whatever happens. */
export async function withWorkers<T>(ground: Ground, load: Load, work: (start: Start) => Promise<T>): Promise<T> {
  const name = `load${++runs}`;
  const at = ground.kind === 'embedded' ? { dir: await mkdtemp(join(ground.dir, `${name}-`)) } : { servers: { postgres: ground.servers.postgres, amqp: ground.servers.amqp } };
  const children: ReturnType<typeof fork>[] = [];
  const start: Start = async (role, resumes = false) => {
    const setting: Setting = { role, name, resumes, ...at, ...usual, ...load };
    const child = fork(fileURLToPath(new URL('process.ts', import.meta.url)), [JSON.stringify(setting)]);
    children.push(child);
    const died = once(child, 'exit').then(() => Promise.reject(new Error(`the ${role} of ${name} has ended`)));
    died.catch(() => {});
    const said = async (): Promise<unknown> => (await Promise.race([once(child, 'message'), died]))[0];
    await said();
    return {
      ask(ask) {
        const answer = said();
        child.send(ask);
        return answer as Promise<Answer>;
      },
      async kill() {
        child.kill('SIGKILL');
        await died.catch(() => {});
      },
    };
  };
  try {
    return await work(start);
  } finally {
    for (const child of children) child.kill('SIGKILL');
    if ('dir' in at) await rm(at.dir, { recursive: true, force: true });
  }
}

/** Of `latest` some may have been passed by a newer one; the rest is as strict. */
export function isRight(effects: NonNullable<Answer['effects']>, count: number, order: Setting['order']): boolean {
  const { sum, squares, wrong, spoilt } = effects;
  if (spoilt > 0 || (wrong > 0 && order !== 'any')) return false;
  if (order === 'latest') return effects.count > 0 && effects.count <= count;
  return effects.count === count && sum === (count * (count - 1)) / 2 && squares === ((count - 1) * count * (2 * count - 1)) / 6;
}
