/** The idle service of `idle`, with its timers and statements counted. */
import { StatementSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createBus, defineEvent } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { silent } from '../rabbitmq/contract.ts';

export interface Idle {
  readonly cpuUs: number;
  readonly timers: number;
  readonly statements: number;
  readonly residentBytes: number;
}

const schema = { '~standard': { version: 1 as const, vendor: 'bench', validate: (value: unknown) => ({ value: value as object }) } };
let timers = 0;
let statements = 0;
const setTimer = globalThis.setTimeout;
globalThis.setTimeout = ((...given: Parameters<typeof setTimer>) => {
  timers++;
  return setTimer(...given);
}) as typeof setTimer;
const counted = (of: object, names: readonly string[]): void => {
  for (const name of names) {
    const method = Reflect.get(of, name) as (...given: unknown[]) => unknown;
    Reflect.set(of, name, function (this: unknown, ...given: unknown[]): unknown {
      statements++;
      return method.apply(this, given);
    });
  }
};
counted(StatementSync.prototype, ['run', 'get', 'all']);
counted(pg.Client.prototype, ['query']);

const [, , name, store, transport, count] = process.argv as unknown as [string, string, string, string, string, string];
const bus = createBus({ service: name, store: store.startsWith('sqlite') ? store : postgres(store, { schema: name.replace('-', '_') }), transport, logger: silent });
let handled = 0;
const events = Array.from({ length: Number(count) }, (_, n) => defineEvent(`bench.idle${n}`, { schema }));
for (const event of events) bus.subscribe(event, { name: `on-${event.name}` }, () => void handled++);
await bus.start();
// Each has taken something of its publisher: how far it is with it is told from now on.
for (const event of events) await bus.publish(event, { n: 0 });
while (handled < events.length) await sleep(20);
handled = 0;
await sleep(3_000);
process.send!('at rest');
process.on('message', (word: unknown) => void (typeof word === 'number' ? measure(word) : end()));

async function measure(ms: number): Promise<void> {
  [timers, statements] = [0, 0];
  const cpu = process.cpuUsage();
  await sleep(ms);
  const { user, system } = process.cpuUsage(cpu);
  process.send!({ cpuUs: user + system, timers, statements, residentBytes: process.memoryUsage.rss() } satisfies Idle);
}

async function end(): Promise<void> {
  await bus.publish(events.at(-1)!, { n: 1 });
  for (let i = 0; i < 500 && handled === 0; i++) await sleep(20);
  process.send!({ handled });
  await bus.stop();
  process.exit(0);
}
