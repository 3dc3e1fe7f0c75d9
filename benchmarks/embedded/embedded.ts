/**
 * `embedded`: the whole bus on its SQLite default, publisher and subscriber a process each, `FULL`, 20 messages to a
 * publishing transaction, one upsert per message in the handler's. Beside it, in turn in one run: one bare inserter alone,
 * and one bare commit at the same pace. A figure counts only if every message had its effect once and keys kept order.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { atLeast, atMost, quantile, rounded, type Report } from '../report.ts';
import { environment } from '../workload.ts';
import type { Answer, Ask, Role } from './process.ts';

interface Worker {
  ask(ask: Ask): Promise<Answer>;
  end(): Promise<void>;
}

export async function embedded({ quick }: { readonly quick: boolean }): Promise<Report> {
  const rounds = quick ? 3 : 5;
  const ms = quick ? 2_000 : 5_000;
  const dir = await mkdtemp(join(tmpdir(), 'waybill-bench-'));
  const workers: Worker[] = [];
  try {
    const start = async (role: Role): Promise<Worker> => {
      const worker = await startWorker(role, dir);
      workers.push(worker);
      return worker;
    };
    const bare = await start('bare');
    const view = await start('subscriber');
    const publisher = await start('publisher');

    let published = 0;
    const caughtUp = async (more: number): Promise<Answer> => view.ask({ kind: 'until', count: (published += more) });
    await bare.ask({ kind: 'flood', ms: 500 });
    await caughtUp((await publisher.ask({ kind: 'flood', ms: 1_500 })).count); // warm

    const throughput: { bare: number; bus: number; publishUs: number; handleUs: number; bareUs: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const limit = await bare.ask({ kind: 'flood', ms });
      const idle = view.ask({ kind: 'idle', ms }); // its processor time while it is fed
      const began = performance.now();
      const sent = await publisher.ask({ kind: 'flood', ms });
      const fed = await idle;
      const rest = await caughtUp(sent.count);
      const tookMs = performance.now() - began;
      throughput.push({
        bare: limit.count / (limit.ms / 1_000),
        bus: sent.count / (tookMs / 1_000),
        bareUs: limit.cpuUs / limit.count,
        publishUs: sent.cpuUs / sent.count,
        handleUs: (fed.cpuUs + rest.cpuUs) / sent.count,
      });
    }

    const pace = { kind: 'pace', ms: quick ? 2_000 : 5_000, everyMs: 5 } as const;
    const commits = await bare.ask(pace);
    await view.ask({ kind: 'latencies' });
    await caughtUp((await publisher.ask(pace)).count);
    const latency = await view.ask({ kind: 'latencies' });

    const small = await start('small');
    const flood = publisher.ask({ kind: 'flood', ms: pace.ms });
    const beside = await small.ask({ ...pace, everyMs: 10 });
    await caughtUp((await flood).count + beside.count);
    const idle = await view.ask({ kind: 'idle', ms: quick ? 2_000 : 10_000 });

    for (const worker of workers) await worker.end();
    const correct = check(dir, published);
    const commitMs = quantile(commits.times, 0.5);
    const medianOf = (of: (round: (typeof throughput)[number]) => number): number => quantile(throughput.map(of), 0.5);
    const idleShare = idle.cpuUs / 1_000 / idle.ms;
    return {
      name: 'embedded',
      ratios: [
        atLeast('messages/s beside one bare inserter', medianOf((round) => round.bus / round.bare), 0.55),
        atMost('p50 at 200/s, in ms', quantile(latency.times, 0.5), rounded(2 * commitMs + 1)),
        atMost('p99 of a small writer beside a busy one, in ms', quantile(beside.times, 0.99), 10),
        atMost('idle, share of a core', idleShare, 0.005),
      ],
      correct,
      rounds: throughput,
      busPerSecond: medianOf((round) => round.bus),
      barePerSecond: medianOf((round) => round.bare),
      cpuUsPerMessage: { publisher: medianOf((round) => round.publishUs), subscriber: medianOf((round) => round.handleUs), bare: medianOf((round) => round.bareUs) },
      latencyMs: { p50: quantile(latency.times, 0.5), p99: quantile(latency.times, 0.99), bareCommitP50: commitMs },
    };
  } finally {
    await Promise.allSettled(workers.map((worker) => worker.end()));
    await rm(dir, { recursive: true, force: true });
  }
}

/** Every message had its effect once, in its key's order. */
function check(dir: string, published: number): boolean {
  const db = new DatabaseSync(join(dir, 'view.db'), { readOnly: true });
  try {
    const found = db.prepare('select sum(count) as effects, sum(wrong) as wrong, sum(n - count) as missing from effect').get() as Record<string, number>;
    if (found['effects'] === published && found['wrong'] === 0 && found['missing'] === 0) return true;
    console.error('published', published, 'found', found);
    return false;
  } finally {
    db.close();
  }
}

async function startWorker(role: Role, dir: string): Promise<Worker> {
  // CPU_PROF=publisher,subscriber writes a profile of these into the working directory.
  const profiled = process.env['CPU_PROF']?.split(',').includes(role);
  const child: ChildProcess = fork(fileURLToPath(new URL('process.ts', import.meta.url)), [role, dir], {
    execArgv: profiled ? ['--cpu-prof', '--cpu-prof-interval=500', `--cpu-prof-name=${role}.cpuprofile`] : [],
    env: environment(),
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const died = new Promise<never>((_, reject) => child.once('exit', (code) => reject(new Error(`${role} ended with ${code}`))));
  died.catch(() => {});
  const heard = <T>(): Promise<T> => Promise.race([new Promise<T>((resolve) => child.once('message', resolve as (message: unknown) => void)), died]);
  await heard();
  let ended = false;
  const ask = (what: Ask): Promise<Answer> => {
    const answer = heard<Answer>();
    child.send(what);
    return answer;
  };
  return {
    ask,
    async end() {
      if (ended) return;
      ended = true;
      await ask({ kind: 'end' }).catch(() => child.kill('SIGKILL'));
      if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve));
    },
  };
}
