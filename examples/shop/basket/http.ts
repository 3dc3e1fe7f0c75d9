import { randomUUID } from 'node:crypto';
import type { Context, Hono } from 'hono';
import type { Bus, SqlTransaction } from 'waybill';
import * as z from 'zod';
import { BasketChanged, UserCheckoutAccepted } from '../contracts/basket.ts';
import { PriceCents } from '../contracts/money.ts';
import { Quantity, QUANTITY_MAX } from '../contracts/quantity.ts';
import { checkName, createApp, readJson, requestKey } from '../service/http.ts';
import { once } from '../service/once.ts';
import { Problem } from '../service/problem.ts';
import { addItem, LINES_MAX, type Refusal } from './basket.ts';
import { beginCheckout, total, unseen } from './checkout.ts';
import { linesOf, lockProduct, removeLine, saveLine, setQuantity, touchBasket, type Basket } from './tables.ts';

export const NewItem = z.object({ productId: z.string().min(1).max(64), quantity: Quantity });
export const NewQuantity = z.object({ quantity: Quantity });

const Checkout = z.object({
  /** The lines as the visitor saw them. */
  lines: z.array(z.object({ productId: z.string(), quantity: Quantity, unitPriceCents: PriceCents })).max(LINES_MAX),
  paymentToken: z.string().min(1).max(80),
});

/** An order that is on its way to ordering. */
export interface CheckoutSaved {
  readonly orderId: string;
  readonly totalCents: number;
  readonly token: string;
}

/** A basket after a command, and the token that tells when others know of it. */
export interface BasketSaved extends Basket {
  readonly token: string;
}

export function basketApp(bus: Bus<SqlTransaction>): Hono {
  const app = createApp();

  app.post('/baskets/:visitor/items', async (c) => {
    const visitorId = visitorOf(c);
    const { productId, quantity } = await readJson(c, NewItem);
    const { result, duplicate } = await once(
      bus,
      { scope: 'add-item', key: requestKey(c, visitorId), content: [productId, quantity] },
      async (tx) => {
        const product = await lockProduct(tx, productId);
        if (!product) throw new Problem(404, 'unknown-product', `The basket knows no product "${productId}".`);
        const revision = await touchBasket(tx, visitorId);
        const line = addItem(await linesOf(tx, visitorId), product, quantity);
        if (typeof line === 'string') throw refused(line);
        await saveLine(tx, visitorId, line);
        return await tellOf(tx, visitorId, revision);
      },
    );
    return c.json({ ...result, duplicate });
  });

  app.put('/baskets/:visitor/items/:product', async (c) => {
    const { quantity } = await readJson(c, NewQuantity);
    return c.json(await change(c, (tx, visitorId, productId) => setQuantity(tx, visitorId, productId, quantity)));
  });

  app.delete('/baskets/:visitor/items/:product', async (c) => c.json(await change(c, removeLine)));

  /** Without a number two clicks would be two orders, so here it must be there. */
  app.post('/baskets/:visitor/checkout', async (c) => {
    const visitorId = visitorOf(c);
    const requestId = c.req.header('x-requestid');
    const key = requestKey(c, visitorId);
    if (requestId === undefined || key === undefined)
      throw new Problem(400, 'request-id-missing', 'An order needs an x-requestid, so that two clicks do not order twice.');
    const asked = await readJson(c, Checkout);
    // Whoever asks again under the same number means the same order, although the basket is empty by then.
    const { result, duplicate } = await once(bus, { scope: 'checkout', key, content: 'the basket' }, (tx) =>
      checkout(tx, { visitorId, requestId, ...asked }),
    );
    return c.json({ ...result, duplicate });
  });

  async function checkout(
    tx: SqlTransaction,
    { visitorId, requestId, lines: seen, paymentToken }: { visitorId: string; requestId: string } & z.output<typeof Checkout>,
  ): Promise<CheckoutSaved> {
    await touchBasket(tx, visitorId);
    const lines = await linesOf(tx, visitorId);
    if (lines.length === 0) throw new Problem(409, 'basket-empty', 'There is nothing in the basket to order.');
    const differing = unseen(lines, seen);
    if (differing.length > 0) {
      const names = lines.filter(({ productId }) => differing.includes(productId)).map(({ name }) => name);
      const what = names.length > 0 ? names.join(', ') : 'something that was removed';
      throw new Problem(409, 'basket-changed', `The basket has changed since you looked: ${what}. Look again, then order.`);
    }
    const orderId = randomUUID();
    if (!(await beginCheckout(tx, visitorId, orderId)))
      throw new Problem(409, 'checkout-under-way', 'This basket is being ordered already. Your orders show it in a moment.');
    const items = lines.map(({ productId, name, quantity, unitPriceCents }) => ({ productId, name, quantity, unitPriceCents }));
    const order = { requestId, orderId, visitorId, items, totalCents: total(items), paymentToken };
    const { token } = await bus.publish(UserCheckoutAccepted, order, { tx });
    return { orderId, totalCents: order.totalCents, token };
  }

  /** These two say how a line shall be, so that doing them twice is doing them once. */
  async function change(
    c: Context,
    work: (tx: SqlTransaction, visitorId: string, productId: string) => Promise<boolean>,
  ): Promise<BasketSaved> {
    const visitorId = visitorOf(c);
    const productId = c.req.param('product') ?? '';
    return await bus.transaction(async (tx) => {
      const revision = await touchBasket(tx, visitorId);
      if (!(await work(tx, visitorId, productId)))
        throw new Problem(404, 'not-in-basket', `"${productId}" is not in the basket.`);
      return await tellOf(tx, visitorId, revision);
    });
  }

  /** Publishes the basket as it is now, in the transaction that changed it. */
  async function tellOf(tx: SqlTransaction, visitorId: string, revision: number): Promise<BasketSaved> {
    const basket = { visitorId, revision, lines: await linesOf(tx, visitorId) };
    const { token } = await bus.publish(BasketChanged, basket, { tx });
    return { ...basket, token };
  }

  return app;
}

function visitorOf(c: Context): string {
  return checkName('the visitor', c.req.param('visitor') ?? '');
}

function refused(refusal: Refusal): Problem {
  switch (refusal) {
    case 'too-many-pieces':
      return new Problem(422, refusal, `A basket holds at most ${QUANTITY_MAX} pieces of one product.`);
    case 'too-many-lines':
      return new Problem(422, refusal, `A basket holds at most ${LINES_MAX} different products.`);
  }
}
