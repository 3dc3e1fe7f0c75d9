/** One instance of a service in a process of its own, for tests that kill, freeze or forbid. Says what it does, a line each. */
import { once } from 'node:events';
import { apply, labels, message, never, open, publish, subscription, type Bus } from './world.ts';

interface Options {
  readonly directory: string;
  readonly service: string;
  /** `apply`: says each batch when it is committed. `hold`: says what it received and waits for a line before it applies. */
  readonly role: 'apply' | 'hold' | 'publish' | 'open' | 'watch' | 'listen' | 'publish-and-leave';
  /** Its store is in memory. */
  readonly elsewhere?: boolean;
  readonly name?: string;
  readonly from?: 'now' | 'beginning';
  readonly types?: readonly string[];
  /** Dies from inside the transaction that applies a message of this label. */
  readonly dieAt?: string;
  readonly batch?: number;
  /** Publishes this many, one per commit; endless by default. */
  readonly count?: number;
  readonly umask?: number;
}

const options = JSON.parse(process.argv[2] ?? '{}') as Options;
const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
if (options.umask !== undefined) process.umask(options.umask);

const heard = { next: () => once(process.stdin, 'data') };

async function main(): Promise<void> {
  let bus: Bus;
  try {
    bus = await open(options.directory, options.service, options.elsewhere === true ? { file: ':memory:' } : {});
  } catch (error) {
    say({ refused: (error as { code?: string }).code, message: (error as Error).message });
    return;
  }
  if (options.role === 'open') {
    say({ opened: true, reported: bus.reported.map(({ name, detail }) => `${name} ${detail.text ?? ''}`) });
    await heard.next();
    await bus.stop();
    return;
  }
  if (options.role === 'watch') {
    await bus.session.declare(subscription('basket.prices'));
    await bus.session.consume(subscription('basket.prices'));
    say({ ledgers: bus.ledgers() });
    await heard.next();
    return;
  }
  if (options.role === 'listen') {
    say({ address: (await bus.session.listen(() => {})).address });
    await heard.next();
    return;
  }
  if (options.role === 'publish-and-leave') {
    await publish(bus, message(options.service, 'one'));
    say({ published: true });
    return; // and closes nothing
  }
  if (options.role === 'publish') return publishAll(bus);
  await consume(bus);
}

async function publishAll(bus: Bus): Promise<void> {
  for (let n = 1; n <= (options.count ?? Infinity); n++) {
    const label = `${options.service} ${n}`;
    await publish(bus, message(options.service, label, { id: `${label} of ${process.pid}` }));
    say({ published: `${label} of ${process.pid}` });
  }
  await bus.stop();
}

async function consume(bus: Bus): Promise<void> {
  const { name = 'basket.prices', from = 'now', batch = 100 } = options;
  const types = options.types ?? ['catalog.price-changed.v1'];
  const declaration = subscription(name, { from, bindings: types.map((type) => ({ type, kind: 'event' })) });
  await bus.session.declare(declaration);
  const consumer = await bus.session.consume(declaration);
  say({ ready: process.pid, active: consumer.active });
  for (;;) {
    const got = await consumer.receive(batch, { waitMs: 1_000, signal: never });
    const lost = bus.reported.filter((report) => report.name === 'takeover').length;
    if (got.length === 0) continue;
    if (options.role === 'hold') {
      say({ received: labels(got), takeovers: lost });
      await heard.next();
    }
    try {
      if (options.dieAt !== undefined && labels(got).includes(options.dieAt)) {
        await bus.store.transaction(async (tx) => {
          await consumer.settleIn(tx, got);
          process.kill(process.pid, 'SIGKILL');
          await new Promise(() => {});
        });
      }
      say({ applied: await apply(bus, consumer, name, got), suspects: got.filter(({ suspect }) => suspect).length });
    } catch (error) {
      say({ failed: (error as { code?: string }).code });
    }
  }
}

await main();
process.stdin.destroy();
