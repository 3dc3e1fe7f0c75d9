import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { profiled } from '../profile.ts';
import { median } from '../report.ts';

export interface Servers {
  readonly amqp: string;
  readonly postgres: string;
  /** Process id of PostgreSQL's own process. */
  readonly postmaster: number;
  /** Ends the broker hard, or starts it again; resolves when it listens. */
  rabbit(what: 'kill' | 'start'): Promise<void>;
  /** CPU so far in milliseconds: this process, RabbitMQ, PostgreSQL. */
  cpu(): { node: number; rabbit: number; postgres: number };
  close(): Promise<void>;
}

/**
 * A PostgreSQL (fsync on) and a RabbitMQ of this benchmark's own, on free ports.
 * @param kind `logical` for relay mode `log`, `no-rabbitmq` for PostgreSQL alone
 */
export async function startServers(kind: 'replica' | 'logical' | 'no-rabbitmq' = 'replica'): Promise<Servers> {
  const program = fileURLToPath(new URL('../../packages/waybill/test/support/serve.ts', import.meta.url));
  const child: ChildProcess = spawn(process.execPath, [program, kind], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! });
  const died = new Promise<never>((_, reject) => child.once('exit', () => reject(new Error('the servers have ended'))));
  died.catch(() => {});
  const said = (): Promise<string> => Promise.race([new Promise<string>((resolve) => lines.once('line', resolve)), died]);
  const line = await said();
  const { amqp, postgres, postmaster, ...first } = JSON.parse(line) as { amqp: string; postgres: string; beam: number; postmaster: number };
  let { beam } = first;
  return {
    amqp,
    postgres,
    postmaster,
    async rabbit(what) {
      child.stdin!.write(`rabbitmq ${what}\n`);
      ({ beam } = JSON.parse(await said()) as { beam: number });
    },
    cpu() {
      const times = processTimes();
      const used = process.cpuUsage();
      let pg = 0;
      for (const [pid, { parent, ms, endedMs }] of times) {
        if (pid === postmaster) pg += ms + endedMs; // of connections that were closed meanwhile, too
        else if (parent === postmaster) pg += ms;
      }
      return { node: (used.user + used.system) / 1000, rabbit: times.get(beam)?.ms ?? 0, postgres: pg };
    },
    close() {
      return new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.stdin!.end();
      });
    },
  };
}

/**
 * proc(5): utime and stime are fields 14 and 15, those of children that have ended 16 and 17, in ticks of 10 ms; the name may
 * hold spaces and ends with a bracket.
 */
function processTimes(): Map<number, { parent: number; ms: number; endedMs: number }> {
  const times = new Map<number, { parent: number; ms: number; endedMs: number }>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      times.set(Number(pid), { parent: Number(fields[1]), ms: (Number(fields[11]) + Number(fields[12])) * 10, endedMs: (Number(fields[13]) + Number(fields[14])) * 10 });
    } catch {
      // it has ended
    }
  }
  return times;
}

/** Messages per second, and CPU microseconds per message of each process. */
export interface Measured {
  readonly rate: number;
  readonly cpu: Readonly<Record<'node' | 'rabbit' | 'postgres', number>>;
}

export async function measured(servers: Servers, messages: number, work: () => Promise<void>): Promise<Measured> {
  return measuredAs(servers, async () => {
    await work();
    return messages;
  });
}

/** The same where only the work knows how many they were. */
export async function measuredAs(servers: Servers, work: () => Promise<number>): Promise<Measured & { readonly messages: number }> {
  const [before, began] = [servers.cpu(), performance.now()];
  let messages = 0;
  await profiled(async () => void (messages = await work()));
  const [after, seconds] = [servers.cpu(), (performance.now() - began) / 1000];
  const per = (name: 'node' | 'rabbit' | 'postgres'): number => Math.round(((after[name] - before[name]) * 10_000) / messages) / 10;
  return { messages, rate: messages / seconds, cpu: { node: per('node'), rabbit: per('rabbit'), postgres: per('postgres') } };
}

/** Of several rounds, each process by itself. */
export function medianCpu(rounds: readonly Measured[]): Measured['cpu'] {
  const of = (name: keyof Measured['cpu']): number => median(rounds.map(({ cpu }) => cpu[name]));
  return { node: of('node'), rabbit: of('rabbit'), postgres: of('postgres') };
}
