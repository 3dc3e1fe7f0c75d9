import assert from 'node:assert/strict';
import type { Audited, Trouble } from '../service/operator.ts';
import type { ServiceName } from '../supervisor/messages.ts';
import { until, visitorOf, type BasketSeen, type Shop } from '../testing/open-shop.ts';

/*
 * Many shoppers at once, prices that change under them, cards that are declined, orders that are called off, a gateway that
 * misbehaves, and services that are killed. Afterwards the books must balance to the cent.
 */

export interface StormOptions {
  readonly seed: number;
  readonly shoppers: number;
  /** Ends when so many orders were placed, or so much time has passed. */
  readonly orders: number;
  readonly minutes: number;
  /** Milliseconds between two blows at most; 0: none. */
  readonly blowEveryMs: number;
  readonly progress?: (done: Progress) => void;
}

export interface Progress {
  readonly orders: number;
  readonly refused: number;
  readonly kills: number;
  readonly elapsedMs: number;
}

/** What the shop owner counted after a storm. */
export interface Balance extends Progress {
  readonly shipped: number;
  readonly cancelled: number;
  readonly takenCents: number;
}

/** Few products, so that shoppers get into each other's way. */
const WANTED = ['harbour-mug', 'lighthouse-teapot', 'foundry-teapot', 'two-person-tent', 'rubber-plant'];
const KILLED: readonly ServiceName[] = ['catalog', 'basket', 'ordering', 'payment', 'gateway', 'storefront'];

/** A small generator of chance with a seed (mulberry32), so that a storm can be had again. */
function chanceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export async function storm(shop: Shop, options: StormOptions): Promise<Balance> {
  const began = performance.now();
  const endsAt = began + options.minutes * 60_000;
  const placed = new Map<string, { visitor: string }>();
  const done = { orders: 0, refused: 0, kills: 0 };
  const progress = (): Progress => ({ ...done, elapsedMs: performance.now() - began });
  const isOver = (): boolean => done.orders >= options.orders || performance.now() > endsAt;

  const shopper = async (number: number): Promise<void> => {
    const chance = chanceOf(options.seed * 1_000 + number);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)]!;
    const visitor = `shopper-${options.seed}-${number}`;
    const its = visitorOf(shop, visitor);
    for (let turn = 0; !isOver(); turn++) {
      try {
        await its.add(pick(WANTED), 1 + Math.floor(chance() * 3));
        if (chance() < 0.3) await its.add(pick(WANTED));
        if (chance() < 0.2) await changePrice(pick(WANTED), Math.round(500 + chance() * 5_000) / 100);
        if (chance() < 0.1) await shop.json('POST', `/api/admin/products/${pick(WANTED)}/stock`, { body: { pieces: 5 } });
        const requestId = `${visitor}-${turn}`;
        const body = { paymentToken: chance() < 0.15 ? 'tok_declined' : 'tok_visa' };
        const orderId = await checkout(its, requestId, body);
        if (orderId === undefined) {
          done.refused++;
          continue;
        }
        placed.set(orderId, { visitor });
        done.orders++;
        options.progress?.(progress());
        if (chance() < 0.25) {
          await pause(chance() * 800);
          await its.cancel(orderId);
        }
        if (chance() < 0.5) await pause(chance() * 300);
      } catch {
        await pause(100 + chance() * 200); // a service is away: a person would try again
      }
    }
  };

  /** As a program should: the same number again until there is an answer. */
  const checkout = async (its: ReturnType<typeof visitorOf>, requestId: string, body: object): Promise<string | undefined> =>
    await until('the checkout is answered', async () => {
      const response = await its.checkout(requestId, body);
      if (response.status >= 500) return false;
      const answer = (await response.json()) as { orderId?: string };
      return { orderId: answer.orderId };
    }).then(({ orderId }) => orderId);

  const changePrice = (id: string, price: number) => shop.json('POST', `/api/admin/products/${id}/price`, { body: { price } });

  const nemesis = async (): Promise<void> => {
    const chance = chanceOf(options.seed * 7_919);
    while (options.blowEveryMs > 0 && !isOver()) {
      await pause(options.blowEveryMs * (0.3 + 0.7 * chance()));
      const name = KILLED[Math.floor(chance() * KILLED.length)]!;
      try {
        if (chance() < 0.2) {
          const mode = ['charges-and-fails', 'fails', 'normal'][Math.floor(chance() * 3)];
          await shop.json('POST', '/api/admin/gateway', { body: { mode } });
          continue;
        }
        const { pid } = await shop.service(name);
        if (pid === undefined) continue;
        process.kill(pid, 'SIGKILL'); // start.ts starts it again
        done.kills++;
      } catch {
        // the storefront itself is away
      }
    }
  };

  await Promise.all([nemesis(), ...Array.from({ length: options.shoppers }, (_, number) => shopper(number))]);
  await calm(shop);
  return { ...(await balance(shop, placed)), ...progress() };
}

/** Everything runs again, what was given up is tried again, and nothing is under way any more. */
async function calm(shop: Shop): Promise<void> {
  await until('every service answers', async () => {
    for (const name of KILLED) {
      const { answering, state } = await shop.service(name);
      if (state === 'failed' || state === 'stopped') await shop.json('POST', `/api/admin/services/${name}/start`);
      if (!answering) return false;
    }
    return true;
  });
  await shop.json('POST', '/api/admin/gateway', { body: { mode: 'normal' } });
  await until('nothing waits and nothing is given up', async () => {
    let isCalm = true;
    for (const name of KILLED.filter((one) => one !== 'gateway')) {
      const { waiting, groups } = await shop.json<Trouble>('GET', `/api/admin/services/${name}/operations`);
      for (const { group } of groups) await shop.json('POST', `/api/admin/services/${name}/operations/retry`, { body: { group } });
      if (groups.length > 0 || waiting.some(({ reason }) => reason !== 'delayed')) isCalm = false;
    }
    return isCalm;
  });
  await until('every order has come to its end', async () => {
    const { orders } = await shop.json<{ orders: Record<string, number> }>('GET', '/api/admin/books');
    return Object.keys(orders).every((status) => status === 'Shipped' || status === 'Cancelled');
  });
  // Did everybody apply everything? (G34)
  await until('every message that was told has been applied', async () => {
    for (const name of KILLED.filter((one) => one !== 'gateway')) {
      const { entries } = await shop.json<{ entries: Audited[] }>('GET', `/api/admin/services/${name}/operations/audit`);
      assert.deepEqual(entries.filter(({ lost, failed }) => lost + failed > 0), [], `${name} has lost something`);
      if (entries.some(({ published, applied }) => applied < published)) return false;
    }
    return true;
  });
}

interface Books {
  readonly stock: readonly { productId: string; available: number; reserved: number; sold: number; delivered: number }[];
  readonly orders: Record<string, number>;
  readonly money: { chargedCents: number; refundedCents: number };
}

async function balance(shop: Shop, placed: ReadonlyMap<string, { visitor: string }>) {
  const sold = new Map<string, number>();
  let takenCents = 0;
  let shipped = 0;
  let cancelled = 0;
  for (const [orderId, { visitor }] of placed) {
    const order = await until('the page shows the order’s end', async () => {
      const seen = await shop.json<Seen>('GET', `/api/orders/${orderId}`, { visitor });
      return ['Shipped', 'Cancelled'].includes(seen.status) && seen;
    });
    if (order.status === 'Cancelled') {
      cancelled++;
      continue;
    }
    shipped++;
    takenCents += Math.round(order.total * 100);
    for (const { productId, quantity } of order.items) sold.set(productId, (sold.get(productId) ?? 0) + quantity);
  }

  const books = await until('the last refund is through', async () => {
    const seen = await shop.json<Books>('GET', '/api/admin/books');
    return seen.money.chargedCents - seen.money.refundedCents === takenCents && seen;
  }).catch(() => shop.json<Books>('GET', '/api/admin/books'));
  assert.equal(books.money.chargedCents - books.money.refundedCents, takenCents, 'charged − refunded = what paid orders cost');
  assert.deepEqual(books.orders, { ...(shipped ? { Shipped: shipped } : {}), ...(cancelled ? { Cancelled: cancelled } : {}) }, 'no order twice, none lost');
  for (const { productId, available, reserved, sold: out, delivered } of books.stock) {
    assert.equal(available + reserved + out, delivered, `${productId}: no piece made, none lost`);
    assert.equal(reserved, 0, `${productId}: nothing is put aside for nobody`);
    assert.equal(out, sold.get(productId) ?? 0, `${productId}: sold is what has left`);
  }

  const { products } = await shop.json<{ products: { productId: string; price: number; stock: number }[] }>('GET', '/api/products');
  const prices = new Map(products.map(({ productId, price }) => [productId, price]));
  for (const { visitor } of new Set(placed.values())) {
    await until(`the basket of ${visitor} has the catalogue’s prices`, async () => {
      const { lines } = await shop.json<BasketSeen>('GET', '/api/basket', { visitor });
      return lines.every(({ productId, unitPrice }) => unitPrice === prices.get(productId));
    });
  }
  return { shipped, cancelled, takenCents };
}

interface Seen {
  readonly status: string;
  readonly total: number;
  readonly items: readonly { readonly productId: string; readonly quantity: number }[];
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
