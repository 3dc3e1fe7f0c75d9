import { parseArgs } from 'node:util';
import { createProgress } from '../../../../lab/progress.ts';
import { openShop } from '../open-shop.ts';
import { privateServers } from '../private-servers.ts';
import { storm } from './storm.ts';

/**
 * `npm run shop:storm -- --minutes 10 --seed 1`: the long one, on files, or on the servers in `WAYBILL_STORE` and
 * `WAYBILL_TRANSPORT`. With `--servers` on a PostgreSQL and a RabbitMQ of its own, which are killed like everybody else.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    shoppers: { type: 'string', default: '8' },
    servers: { type: 'boolean', default: false },
  },
});
const [minutes, seed, shoppers] = [values.minutes, values.seed, values.shoppers].map(Number) as [number, number, number];
if (![minutes, seed, shoppers].every((n) => Number.isFinite(n) && n > 0) || minutes > 120) {
  console.error('npm run shop:storm -- --minutes 10 --seed 1 --shoppers 8 [--servers]     (at most 120 minutes)');
  process.exit(2);
}

await using servers = values.servers ? await privateServers() : undefined;
await using shop = await openShop(servers && { env: servers.env });
console.error(`A storm of ${minutes} min, seed ${seed}, ${shoppers} shoppers`);
const bar = createProgress(Math.round(minutes * 60), 's');
const balance = await storm(shop, {
  seed,
  shoppers,
  minutes,
  orders: Number.POSITIVE_INFINITY,
  blowEveryMs: 2_500,
  ...(servers && {
    servers: [servers.postgres, servers.rabbit].map((server, i) => ({
      name: ['postgres', 'rabbitmq'][i]!,
      async strike() {
        await server.kill();
        await server.start();
      },
    })),
  }),
  progress: ({ orders, refused, kills, elapsedMs }) =>
    bar.update(Math.round(elapsedMs / 1_000), `${orders} orders, ${refused} refused, kills: ${listed(kills)}`),
});
bar.end();
console.log(
  `The books balance after ${Math.round(balance.elapsedMs / 1_000)} s: ${balance.shipped} shipped, ${balance.cancelled} cancelled, €${(balance.takenCents / 100).toFixed(2)} taken, the audit is clean. Killed: ${listed(balance.kills)}.`,
);

function listed(kills: Readonly<Record<string, number>>): string {
  return Object.entries(kills).map(([name, times]) => `${name} ${times}`).join(', ') || 'nobody';
}
