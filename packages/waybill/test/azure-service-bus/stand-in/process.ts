/** The stand-in as a process of its own: it is killed and started again on what it kept, and goes wrong at command. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Order } from './orders.ts';

export interface StandInProcess {
  readonly port: number;
  readonly administrationPort: number;
  /** With that port for AMQP, for a proxy before it. */
  url(port: number): string;
  order(order: Order): void;
  /** One subscription or queue, `at` in [0, 1) of all; its name. */
  deleteOne(at: number): Promise<string>;
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  kill(): Promise<void>;
  /** At the same place, with what it had accepted. */
  start(): Promise<void>;
}

const answerMaxMs = 20_000;

/** @param file where it keeps what it accepts */
export async function startStandInProcess(file: string): Promise<StandInProcess> {
  let child: ChildProcess;
  const launch = async (places: { port?: number; administrationPort?: number }): Promise<{ port: number; administrationPort: number }> => {
    child = fork(join(import.meta.dirname, 'main.ts'), [JSON.stringify({ file, ...places })], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    const [line] = (await once(createInterface(child.stdout!), 'line')) as [string];
    return JSON.parse(line) as { port: number; administrationPort: number };
  };
  const places = await launch({});
  return {
    ...places,
    url: (port) => `sb://Root:c2VjcmV0@localhost:${port}?emulator=true&administrationPort=${places.administrationPort}`,
    order: (order) => void (child.connected && child.send(order)),
    async deleteOne(at) {
      const answer = once(child, 'message', { signal: AbortSignal.timeout(answerMaxMs) });
      child.send({ do: 'delete', at } satisfies Order);
      return ((await answer)[0] as { deleted: string }).deleted;
    },
    signal: (signal) => void child.kill(signal),
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
    start: async () => void (await launch(places)),
  };
}
