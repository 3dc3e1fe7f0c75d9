/** One relay, or one instance of the consumer, of `capacity`. */
import type pg from 'pg';
import { createBus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { Counted, silent } from '../rabbitmq/contract.ts';

const [, , role, service, database, broker, system] = process.argv as unknown as string[];
const bus = createBus({ service: service!, store: postgres(database!, { schema: service!.replaceAll('-', '_') }), transport: rabbitmq(broker!, { system: system! }), logger: silent });
let handled = 0;
let cpu = process.cpuUsage();
if (role === 'consumer') {
  bus.subscribe(Counted, { name: 'all' }, async ({ key }, ctx) => {
    const { tx, afterCommit } = ctx as unknown as { tx: pg.PoolClient; afterCommit(fn: () => void): void };
    await tx.query('update stock set effects = effects + 1 where key = $1', [key]);
    afterCommit(() => void handled++);
  });
  await bus.start();
  setInterval(() => {
    if (handled > 0) process.send!(handled);
    handled = 0;
  }, 5);
}
process.on('message', (word) => {
  if (word === 'go') {
    cpu = process.cpuUsage();
    if (role === 'relay') void bus.start();
  } else {
    const { user, system: kernel } = process.cpuUsage(cpu);
    process.send!({ cpuUs: user + kernel });
    void bus.stop({ drainMs: 0 }).then(() => process.exit(0));
  }
});
process.send!('ready');
