import type { Context, Hono } from 'hono';
import type { Bus, SqlTransaction } from 'waybill';
import * as z from 'zod';
import { BasketChanged, QUANTITY_MAX } from '../contracts/basket.ts';
import { checkName, createApp, readJson, requestKey } from '../service/http.ts';
import { once } from '../service/once.ts';
import { Problem } from '../service/problem.ts';
import { addItem, LINES_MAX, type Refusal } from './basket.ts';
import { linesOf, lockProduct, removeLine, saveLine, setQuantity, touchBasket, type Basket } from './tables.ts';

const Quantity = z.int().min(1).max(QUANTITY_MAX);
const NewItem = z.object({ productId: z.string().min(1).max(64), quantity: Quantity });
const NewQuantity = z.object({ quantity: Quantity });

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
