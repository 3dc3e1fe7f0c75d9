/**
 * A service with a hundred subscriptions, each of which has handled a message, and nothing to do: its share of a core, and
 * the timers, statements and broker's work per second behind it, on each store and transport. At the end a message is
 * published and must be handled once, so that what was measured was alive.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { atMost, rounded, type Report } from '../report.ts';
import { startServers } from '../rabbitmq/servers.ts';
import type { Idle } from './process.ts';

const subscriptions = 100;
const combinations = [
  ['sqlite', 'sqlite'],
  ['postgres', 'sqlite'],
  ['postgres', 'rabbitmq'],
  ['sqlite', 'rabbitmq'],
] as const;

export async function idle({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 4_000 : 20_000;
  const servers = await startServers();
  const dir = await mkdtemp(join(tmpdir(), 'waybill-idle-'));
  const found: Record<string, object> = {};
  const ratios = [];
  let correct = true;
  try {
    for (const [store, transport] of combinations) {
      const name = `${store}-${transport}`;
      const urls = { store: store === 'sqlite' ? `sqlite:${join(dir, `${name}.db`)}` : servers.postgres, transport: transport === 'sqlite' ? `sqlite:${dir}` : servers.amqp };
      const child = fork(fileURLToPath(new URL('process.ts', import.meta.url)), [name, urls.store, urls.transport, String(subscriptions)]);
      await once(child, 'message'); // started, and at rest
      const before = servers.cpu();
      child.send(ms);
      const [measured] = (await once(child, 'message')) as [Idle];
      const after = servers.cpu();
      child.send('end');
      const [{ handled }] = (await once(child, 'message')) as [{ handled: number }];
      await once(child, 'exit');
      correct &&= handled === 1;
      const seconds = ms / 1_000;
      found[name] = {
        shareOfACore: rounded(measured.cpuUs / 1_000 / ms),
        rabbitShareOfACore: transport === 'rabbitmq' ? rounded((after.rabbit - before.rabbit) / ms) : 0,
        postgresShareOfACore: store === 'postgres' ? rounded((after.postgres - before.postgres) / ms) : 0,
        timersPerSecond: rounded(measured.timers / seconds),
        statementsPerSecond: rounded(measured.statements / seconds),
        residentMegabytes: rounded(measured.residentBytes / 1e6),
      };
      console.log(name, found[name]);
      ratios.push(atMost(`${store} and ${transport}: share of a core, ${subscriptions} subscriptions`, measured.cpuUs / 1_000 / ms, 0.03));
      ratios.push(atMost(`${store} and ${transport}: statements a second`, measured.statements / seconds, 150));
    }
  } finally {
    await servers.close();
    await rm(dir, { recursive: true, force: true });
  }
  return { name: 'idle', ratios, correct, subscriptions, atRest: found };
}
