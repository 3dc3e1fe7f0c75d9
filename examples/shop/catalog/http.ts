import type { Hono } from 'hono';
import type { Bus, SqlTransaction } from 'waybill';
import * as z from 'zod';
import { ProductPriceChanged, ProductStockChanged } from '../contracts/catalog.ts';
import { PriceCents } from '../contracts/money.ts';
import { createApp, readJson, requestKey } from '../service/http.ts';
import { once } from '../service/once.ts';
import { Problem } from '../service/problem.ts';
import { changePrice, nearbyPrice } from './product.ts';
import { allProductIds, lockProduct, savePrice } from './products.ts';
import { addStock, allStock } from './warehouse.ts';

/** Changes in one burst: enough to see a queue grow, over in seconds. */
export const BURST_MAX = 500;
/** Pieces in one delivery. */
const DELIVERY_MAX = 10_000;

const NewPrice = z.object({ priceCents: PriceCents });
export const Delivery = z.object({ pieces: z.int().min(1).max(DELIVERY_MAX) });
export const Burst = z.object({ changes: z.int().min(1).max(BURST_MAX) });

/** What the catalogue says to a new price. `token` is missing when the price was that already. */
export interface PriceSaved {
  readonly productId: string;
  readonly priceCents: number;
  readonly revision: number;
  readonly savedAt: string;
  readonly token?: string;
}

export interface StockSaved {
  readonly productId: string;
  readonly available: number;
  readonly revision: number;
  readonly token: string;
}

export function catalogApp(bus: Bus<SqlTransaction>): Hono {
  const app = createApp();

  app.post('/products/:id/price', async (c) => {
    const productId = c.req.param('id');
    const { priceCents } = await readJson(c, NewPrice);
    const key = requestKey(c, c.req.header('x-visitor') ?? '');
    const { result, duplicate } = await once(bus, { scope: 'set-price', key, content: [productId, priceCents] }, (tx) =>
      setPrice(tx, productId, () => priceCents),
    );
    return c.json({ ...result, duplicate });
  });

  app.post('/products/:id/deliveries', async (c) => {
    const productId = c.req.param('id');
    const { pieces } = await readJson(c, Delivery);
    const key = requestKey(c, c.req.header('x-visitor') ?? '');
    const { result, duplicate } = await once(bus, { scope: 'deliver', key, content: [productId, pieces] }, (tx) =>
      deliver(tx, productId, pieces),
    );
    return c.json({ ...result, duplicate });
  });

  /** For whoever counts. */
  app.get('/stock', async (c) => c.json({ stock: await bus.transaction(allStock) }));

  app.post('/burst', async (c) => {
    const { changes } = await readJson(c, Burst);
    const productIds = await bus.transaction(allProductIds);
    let last: PriceSaved | undefined;
    for (let i = 0; i < changes; i++) {
      const productId = productIds[Math.floor(Math.random() * productIds.length)]!;
      last = await bus.transaction((tx) => setPrice(tx, productId, (priceCents) => nearbyPrice(priceCents, Math.random)));
    }
    return c.json({ changes, token: last?.token });
  });

  /** The new price and the event that tells of it, in one transaction: both, or neither. */
  async function setPrice(tx: SqlTransaction, productId: string, newPrice: (priceCents: number) => number): Promise<PriceSaved> {
    const product = await lockProduct(tx, productId);
    if (!product) throw unknownProduct(productId);
    const priceCents = newPrice(product.priceCents);
    const savedAt = new Date().toISOString();
    const change = changePrice(product, priceCents);
    if (!change) return { productId, priceCents, revision: product.revision, savedAt };
    await savePrice(tx, change);
    const { token } = await bus.publish(ProductPriceChanged, change, { tx });
    return { productId, priceCents, revision: change.revision, savedAt, token };
  }

  async function deliver(tx: SqlTransaction, productId: string, pieces: number): Promise<StockSaved> {
    const stock = await addStock(tx, productId, pieces);
    if (!stock) throw unknownProduct(productId);
    const { available, revision } = stock;
    const { token } = await bus.publish(ProductStockChanged, { productId, revision, available }, { tx });
    return { productId, available, revision, token };
  }

  return app;
}

function unknownProduct(productId: string): Problem {
  return new Problem(404, 'unknown-product', `There is no product "${productId}".`);
}
