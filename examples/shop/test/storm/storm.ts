import assert from 'node:assert/strict';
import type { Audited, Trouble } from '../../service/operator.ts';
import { SERVICE_NAMES } from '../../supervisor/messages.ts';
import { until, visitorOf, type BasketSeen, type Shop } from '../open-shop.ts';

/*
 * Many shoppers at once, prices that change under them, cards that are declined, orders that are called off, a gateway that
 * misbehaves, services that are killed, and servers too where they are our own. Afterwards the books must balance to the cent.
 */

export interface StormOptions {
  readonly seed: number;
  readonly shoppers: number;
  /** Ends when so many orders were placed, or so much time has passed. */
  readonly orders: number;
  readonly minutes: number;
  /** Milliseconds between two blows at most. */
  readonly blowEveryMs: number;
  /** What else is killed beside the services: each dies and comes back. */
  readonly servers?: readonly { readonly name: string; strike(): Promise<void> }[];
  readonly progress?: (done: Progress) => void;
}

export interface Progress {
  readonly orders: number;
  readonly refused: number;
  /** How often what was killed. */
  readonly kills: Readonly<Record<string, number>>;
  readonly elapsedMs: number;
}

/** What the shop owner counted after a storm. */
export interface Balance extends Progress {
  readonly shipped: number;
  readonly cancelled: number;
  readonly takenCents: number;
  /** Counts everything once more. */
  recount(): Promise<unknown>;
}

/** Few products, so that shoppers get into each other's way. */
const WANTED = ['harbour-mug', 'lighthouse-teapot', 'foundry-teapot', 'two-person-tent', 'rubber-plant'];
/** Of the blows, those that hit a server, where there is one. */
const SERVER_BLOWS = 0.25;
/** Milliseconds for everything to come to its end when the storm is over: payment alone tries for ten seconds, then somebody retries. */
const CALM_MS = 180_000;

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
  /** Who placed which order. */
  const placed = new Map<string, string>();
  const done = { orders: 0, refused: 0, kills: {} as Record<string, number> };
  const killed = (name: string): number => (done.kills[name] = (done.kills[name] ?? 0) + 1);
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
        if (chance() < 0.2) await shop.json('POST', `/api/admin/products/${pick(WANTED)}/stock`, { body: { pieces: 10 } });
        const requestId = `${visitor}-${turn}`;
        const body = { paymentToken: chance() < 0.15 ? 'tok_declined' : 'tok_visa' };
        const orderId = await checkout(its, requestId, body);
        if (orderId === undefined) {
          done.refused++;
          continue;
        }
        placed.set(orderId, visitor);
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
    await settled('the checkout is answered', async () => {
      const response = await its.checkout(requestId, body);
      if (response.status >= 500) return false;
      const answer = (await response.json()) as { orderId?: string };
      return { orderId: answer.orderId };
    }).then(({ orderId }) => orderId);

  const changePrice = (id: string, price: number) => shop.json('POST', `/api/admin/products/${id}/price`, { body: { price } });

  const nemesis = async (): Promise<void> => {
    const chance = chanceOf(options.seed * 7_919);
    while (!isOver()) {
      await pause(options.blowEveryMs * (0.3 + 0.7 * chance()));
      const pick = <T>(list: readonly T[]): T => list[Math.floor(chance() * list.length)]!;
      const name = pick(SERVICE_NAMES);
      if (options.servers && chance() < SERVER_BLOWS) {
        const server = pick(options.servers);
        await server.strike();
        killed(server.name);
        continue;
      }
      try {
        if (chance() < 0.2) {
          const mode = pick(['charges-and-fails', 'fails', 'normal']);
          await shop.json('POST', '/api/admin/gateway', { body: { mode } });
          continue;
        }
        const { pid, state } = await shop.service(name);
        // Given up, because a server was away whenever it was started: somebody starts it again.
        if (state === 'failed') await shop.json('POST', `/api/admin/services/${name}/start`);
        if (pid === undefined) continue;
        process.kill(pid, 'SIGKILL'); // start.ts starts it again
        killed(name);
      } catch {
        // the storefront itself is away
      }
    }
  };

  // Somebody who orders nothing, and sees every price change.
  const looker = visitorOf(shop, `looker-${options.seed}`);
  for (const product of WANTED) await looker.add(product);
  await Promise.all([nemesis(), ...Array.from({ length: options.shoppers }, (_, number) => shopper(number))]);
  await calm(shop);
  assert.deepEqual((await looker.basket()).lines.map(({ productId }) => productId), WANTED, 'what nobody ordered is still there');
  const visitors = new Set([...placed.values(), `looker-${options.seed}`]);
  const count = () => balance(shop, placed, visitors);
  return { ...(await count()), ...progress(), recount: count };
}

/** Everything runs again, what was given up is tried again, and nothing is under way any more. */
async function calm(shop: Shop): Promise<void> {
  await settled('every service answers', async () => {
    for (const name of SERVICE_NAMES) {
      const { answering, state } = await shop.service(name);
      if (state === 'failed' || state === 'stopped') await shop.json('POST', `/api/admin/services/${name}/start`);
      if (!answering) return false;
    }
    return true;
  });
  await shop.json('POST', '/api/admin/gateway', { body: { mode: 'normal' } });
  await settled('nothing waits and nothing is given up', async () => {
    let isCalm = true;
    for (const name of SERVICE_NAMES.filter((one) => one !== 'gateway')) {
      const { waiting, groups } = await shop.json<Trouble>('GET', `/api/admin/services/${name}/operations`);
      for (const { group } of groups) await shop.json('POST', `/api/admin/services/${name}/operations/retry`, { body: { group } });
      if (groups.length > 0 || waiting.some(({ reason }) => reason !== 'delayed')) isCalm = false;
    }
    return isCalm;
  });
  await settled('every order has come to its end', async () => {
    const { orders } = await shop.json<{ orders: Record<string, number> }>('GET', '/api/admin/books');
    return Object.keys(orders).every((status) => status === 'Shipped' || status === 'Cancelled');
  });
  // Did everybody apply everything? (G34)
  await settled('every message that was told has been applied', async () => {
    for (const name of SERVICE_NAMES.filter((one) => one !== 'gateway')) {
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

async function balance(shop: Shop, placed: ReadonlyMap<string, string>, visitors: ReadonlySet<string>) {
  const sold = new Map<string, number>();
  let takenCents = 0;
  let shipped = 0;
  let cancelled = 0;
  for (const [orderId, visitor] of placed) {
    const order = await settled('the page shows the order’s end', async () => {
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

  const books = await settled('the last refund is through', async () => {
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
  for (const visitor of visitors) {
    await settled(`the basket of ${visitor} has the catalogue’s prices`, async () => {
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

/** As `until`, with the patience of somebody who has just seen a storm. */
function settled<T>(what: string, look: () => Promise<T | false | undefined>): Promise<T> {
  return until(what, look, CALM_MS);
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
