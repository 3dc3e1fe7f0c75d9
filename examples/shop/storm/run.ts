import { parseArgs } from 'node:util';
import { openShop } from '../testing/open-shop.ts';
import { storm } from './storm.ts';

/** `npm run shop:storm -- --minutes 10 --seed 1`: the long one. */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    shoppers: { type: 'string', default: '8' },
  },
});
const [minutes, seed, shoppers] = [values.minutes, values.seed, values.shoppers].map(Number) as [number, number, number];
if (![minutes, seed, shoppers].every((n) => Number.isFinite(n) && n > 0) || minutes > 120) {
  console.error('npm run shop:storm -- --minutes 10 --seed 1 --shoppers 8     (at most 120 minutes)');
  process.exit(2);
}

console.error(`A storm of ${minutes} min, seed ${seed}, ${shoppers} shoppers`);
await using shop = await openShop();
const bar = (share: number): string => '█'.repeat(Math.round(share * 30)).padEnd(30, '░');
const balance = await storm(shop, {
  seed,
  shoppers,
  minutes,
  orders: Number.POSITIVE_INFINITY,
  blowEveryMs: 2_500,
  progress({ orders, refused, kills, elapsedMs }) {
    if (!process.stderr.isTTY) return;
    const share = Math.min(1, elapsedMs / (minutes * 60_000));
    process.stderr.write(`\r${bar(share)} ${orders} orders, ${refused} refused, ${kills} kills `);
  },
});
if (process.stderr.isTTY) process.stderr.write('\n');
const seconds = Math.round(balance.elapsedMs / 1_000);
console.log(
  `The books balance: ${balance.shipped} shipped, ${balance.cancelled} cancelled, €${(balance.takenCents / 100).toFixed(2)} taken; ${balance.kills} kills in ${seconds} s.`,
);
